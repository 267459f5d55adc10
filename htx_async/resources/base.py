"""How a resource asks for one of its endpoints: the client's end of the stack."""

from __future__ import annotations

from typing import Protocol, TypeVar

from htx_async.request import Endpoint

T = TypeVar("T")


class Ask(Protocol):
    """Reads an endpoint and returns its model."""

    async def __call__(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
    ) -> T:
        """Ask for *path* (as it is sent; `None`: the endpoint's own) with *params*."""
        ...
