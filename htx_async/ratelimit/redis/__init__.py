"""The rate limiter shared by many processes through Redis."""
