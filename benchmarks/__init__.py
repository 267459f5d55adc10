"""What the package costs, measured: `python -m benchmarks`, or `nox -s bench`."""
