"""Benchmarks: `nox -s bench -- calls decode signing`; docs/about/performance.md explains them."""
