"""Fuzzes the parser of responses and the decoders: `nox -s fuzz -- --seconds 60`."""
