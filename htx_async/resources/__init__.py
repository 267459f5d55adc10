"""Typed resource classes, each with its endpoints."""

from __future__ import annotations

from typing import Any, Final

from htx_async.request import Endpoint
from htx_async.resources import accounts, points


def _declared_in(module: object) -> tuple[Endpoint[Any], ...]:
    values: list[Any] = [value for value in vars(module).values() if isinstance(value, Endpoint)]
    return tuple(values)


ENDPOINTS: Final = (*_declared_in(accounts), *_declared_in(points))
"""All endpoints that the resources declare."""
