"""What crashes together: the frames that make a crash what it is, as one short text."""
