"""Where dumps are looked up: documents by query."""
