"""`htx-async watch`."""
