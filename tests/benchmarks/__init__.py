"""What the package costs, measured: `python -m tests.benchmarks`, or `nox -s bench`."""
