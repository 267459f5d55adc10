"""Numbers as text. Amounts: every digit, no exponent, and aligned at the decimal point."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal


def format_amount(amount: Decimal) -> str:
    """Return an amount without exponent and trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def align(amounts: Iterable[str], width: int = 0) -> list[str]:
    """Return amounts padded to one width, at least *width*, with their decimal points aligned."""
    parts = [amount.partition(".") for amount in amounts]
    decimals = max((len(point + digits) for _, point, digits in parts), default=0)
    texts = [whole + (point + digits).ljust(decimals) for whole, point, digits in parts]
    return [text.rjust(max(width, *map(len, texts))) for text in texts]


def count_of(number: int, noun: str) -> str:
    """Return a number and a noun, in the plural if it is not one."""
    return f"{number} {noun}{'s' * (number != 1)}"
