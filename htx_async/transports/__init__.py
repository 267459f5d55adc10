"""Transports that carry HTTP requests to HTX."""
