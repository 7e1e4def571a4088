"""Where dumps live: objects by name."""
