"""Scrubbing: what is stored held against what is recorded of it, and mended where that costs no byte."""
