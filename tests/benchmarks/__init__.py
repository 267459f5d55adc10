"""Benchmarks: `nox -s bench -- calls decode signing`; docs/performance.md explains them."""
