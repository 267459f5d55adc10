"""Typed resource classes, each with its endpoints."""

from __future__ import annotations

from typing import Any, Final

from htx_async.request import Endpoint
from htx_async.resources import accounts, points

ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = tuple(
    value
    for module in (accounts, points)
    for value in vars(module).values()
    if isinstance(value, Endpoint)
)
"""All endpoints that the resources declare."""
