"""A request in the sandbox: on its way through, and as it is remembered."""

from __future__ import annotations

import attrs

from htx_async.sandbox.endpoints import Endpoint
from htx_async.sandbox.rate_windows import Verdict
from htx_async.sandbox.records import SandboxUser
from htx_async.sandbox.request import Asked
from htx_async.sandbox.responses import Answer


@attrs.frozen
class ReceivedRequest:
    """
    A request that arrived *at* this time (seconds on the clock's `monotonic()`).

    *path* is without query, *endpoint* the path with its variables unfilled, *uid* who signed
    rightly, *status* the HTTP status, *code* HTX's error code (`None`: success or a bare page).
    """

    at: float
    method: str
    path: str
    endpoint: str | None
    uid: int | None
    status: int
    code: str | int | None
    rate_limited: bool


@attrs.define
class Visit:
    """A request on its way through the sandbox: what is known of it so far."""

    asked: Asked
    at: float
    now: float
    endpoint: Endpoint | None = None
    variables: tuple[str, ...] = ()
    params: dict[str, str] = attrs.Factory(dict[str, str])
    user: SandboxUser | None = None
    verdict: Verdict | None = None

    @property
    def version(self) -> int:
        """Return which envelope is answered with: 1 or 2."""
        return self.endpoint.version if self.endpoint else 1

    @property
    def rate_limited(self) -> bool:
        """Whether it came too often."""
        return self.verdict is not None and not self.verdict.admitted

    def arrival(self, answer: Answer) -> ReceivedRequest:
        """Return what is remembered of it."""
        return ReceivedRequest(
            self.at,
            self.asked.method,
            self.asked.path,
            self.endpoint.path if self.endpoint else None,
            self.user.uid if self.user else None,
            answer.status,
            answer.code,
            self.rate_limited,
        )
