"""The client's end of the stack, with answers that are there already."""

from __future__ import annotations

from typing import TypeVar

import attrs

from htx_async.errors import HTXError
from htx_async.request import Endpoint
from tests.decoded import decoded

T = TypeVar("T")


@attrs.define
class Canned:
    """An `Ask` that gives the JSON of `data`, or raises, in turn, and notes what was asked."""

    answers: list[str | HTXError]
    asked: list[tuple[str, tuple[tuple[str, str], ...]]] = attrs.field(factory=list)

    async def _request(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
    ) -> T:
        self.asked.append((f"{endpoint.method} {path or endpoint.path}", params))
        answer = self.answers.pop(0)
        if isinstance(answer, HTXError):
            raise answer
        return decoded(endpoint, answer)

    @property
    def paths(self) -> list[str]:
        """Method and path of each request."""
        return [path for path, _ in self.asked]
