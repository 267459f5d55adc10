"""Typed resource classes, each with its endpoints."""

from __future__ import annotations

from typing import Any, Final

from htx_async.request import Endpoint
from htx_async.resources import accounts, movements, points, users


def _declared_in(module: object) -> tuple[Endpoint[Any], ...]:
    values: list[Any] = [value for value in vars(module).values() if isinstance(value, Endpoint)]
    return tuple(values)


ENDPOINTS: Final = tuple(
    endpoint for module in (accounts, movements, points, users) for endpoint in _declared_in(module)
)
"""All endpoints that the resources declare."""
