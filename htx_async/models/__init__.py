"""Frozen models of HTX's responses, and the decoder that makes them."""
