"""`htx-async stream record`."""
