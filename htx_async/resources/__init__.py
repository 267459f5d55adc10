"""Typed resource classes, each with its endpoints and models."""
