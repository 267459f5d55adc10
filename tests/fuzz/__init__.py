"""Fuzzes what opens and reads HTX's answers: `nox -s fuzz -- --seconds 60`."""
