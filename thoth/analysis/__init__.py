"""Running analyzers and debuggers on dumps."""
