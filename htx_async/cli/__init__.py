"""Command-line interface `htx-async` (extra `cli`)."""
