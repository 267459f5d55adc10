"""`htx-async doctor`."""
