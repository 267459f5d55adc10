"""Token-bucket rate limiter, in one process or shared through Redis."""
