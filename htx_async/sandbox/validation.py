"""Checks of the arguments of the public functions: `ValueError` with the name and the value."""

from __future__ import annotations

import math
from collections.abc import Collection


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise `ValueError` unless *value* is finite and between *low* and *high*, both included."""
    if low <= value <= high and math.isfinite(value):
        return
    allowed = f"at least {low} and finite" if high == math.inf else f"from {low} to {high}"
    message = f"{name} must be {allowed}, got {value}"
    raise ValueError(message)


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise `ValueError` unless *value* is one of *choices*."""
    if value not in choices:
        message = f"{name} must be one of {', '.join(choices)}, got {value!r}"
        raise ValueError(message)
