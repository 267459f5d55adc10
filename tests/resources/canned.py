"""A stand-in for the client that returns prepared responses."""

from __future__ import annotations

from typing import TypeVar

import attrs

from htx_async.errors import HTXError
from htx_async.request import Endpoint
from tests.decoded import decoded
from tests.virtual import DAY

T = TypeVar("T")


@attrs.define
class CannedResponses:
    """A client that decodes or raises each of `responses` in turn, and records the requests."""

    responses: list[str | HTXError]
    requests: list[tuple[str, tuple[tuple[str, str], ...]]] = attrs.field(factory=list)

    async def _request(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
        account_id: int | None = None,
        started_at: float | None = None,
    ) -> T:
        del started_at
        sent = f"{path}?{params}"
        assert account_id is None or f"/{account_id}/" in sent or f"'{account_id}'" in sent
        self.requests.append((f"{endpoint.method} {path or endpoint.path}", params))
        response = self.responses.pop(0)
        if isinstance(response, HTXError):
            raise response
        return decoded(endpoint, response)

    def _monotonic(self) -> float:
        return 0.0

    def _server_time(self) -> float:
        return DAY

    def _is_own_key(self, access_key: str) -> bool:
        return access_key == "own-key"

    @property
    def paths(self) -> list[str]:
        """Method and path of each request."""
        return [path for path, _ in self.requests]
