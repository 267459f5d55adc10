"""Credentials and signatures."""
