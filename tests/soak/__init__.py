"""A client driven through faults and cancellations, and what is left behind afterwards."""
