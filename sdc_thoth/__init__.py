"""The collector: brings the dumps of a fleet into Thoth over SSH."""
