"""State of one request while the sandbox handles it, and the record that remains of it."""

from __future__ import annotations

import attrs

from htx_async.sandbox import errors
from htx_async.sandbox.endpoint import Endpoint
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.rate_windows import Admission
from htx_async.sandbox.records import SandboxUser
from htx_async.sandbox.request import ParsedRequest
from htx_async.sandbox.responses import SandboxResponse
from htx_async.sandbox.state import SandboxState

_MAX_ID_DIGITS = 19


@attrs.frozen
class ReceivedRequest:
    """
    A request that the sandbox received.

    A request on a stream has the method `"WS"`, its name in the fault schedule as `endpoint`, e.g.
    `"WS sub"`, and the status 200. The handshake has the status 101.

    Attributes:
        at: Time of arrival, in seconds of the clock's `monotonic()`.
        method: HTTP method.
        path: Path without query.
        endpoint: Method and path with its variables unfilled; `None`: an unknown path.
        uid: UID of the user that signed the request; `None`: not signed, or not valid.
        status: HTTP status of the response.
        code: HTX's error code; `None`: a success or an HTML page.
        rate_limited: Whether the request exceeded a rate limit.
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
class RequestContext:
    """What is known so far of a request; *at*: monotonic seconds, *now*: HTX's wall clock."""

    state: SandboxState
    request: ParsedRequest
    at: float
    now: float
    endpoint: Endpoint | None = None
    variables: tuple[str, ...] = ()
    params: dict[str, str] = attrs.Factory(dict[str, str])
    user: SandboxUser | None = None
    admission: Admission | None = None

    @property
    def version(self) -> int:
        """Return the version of the envelope: 1 or 2."""
        return self.endpoint.version if self.endpoint else 1

    @property
    def owner(self) -> SandboxUser:
        """Return the user that signed the request."""
        assert self.user is not None, "this endpoint is signed"
        return self.user

    @property
    def subject(self) -> SandboxUser:
        """Return the user that the request is about: the parameter `subUid`, else the owner."""
        if "subUid" not in self.params:
            return self.owner
        sub_user = self.state.sub_user(self.owner, parse_id(self.params["subUid"], "subUid"))
        if sub_user is None:  # also for every request of a sub user: it has no sub users
            raise APIError(errors.FORBIDDEN)
        return sub_user

    def choice(self, field: str, values: frozenset[str], default: str) -> str:
        """Return the parameter *field*; `APIError` unless it is one of *values*."""
        value = self.params.get(field, default)
        if value not in values:
            raise APIError(errors.malformed(field))
        return value

    @property
    def parent(self) -> SandboxUser:
        """Return the owner, which must not be a sub user."""
        if self.owner.parent is not None:
            raise APIError(errors.FORBIDDEN)
        return self.owner

    def required(self, field: str) -> str:
        """Return the parameter *field*; `APIError` if it is missing."""
        if field not in self.params:
            raise APIError(errors.missing(field))
        return self.params[field]

    def integer(self, field: str, default: int) -> int:
        """Return the parameter *field* as a number."""
        return parse_id(self.params[field], field) if field in self.params else default

    def record(self, response: SandboxResponse) -> ReceivedRequest:
        """Return the record of the request."""
        return ReceivedRequest(
            self.at,
            self.request.method,
            self.request.path,
            self.endpoint.path if self.endpoint else None,
            self.user.uid if self.user else None,
            response.status,
            response.code,
            self.admission is not None and not self.admission.admitted,
        )


def parse_id(text: str, field: str) -> int:
    """Return the id in *text*; `APIError` that names *field* if it is not ASCII digits."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_ID_DIGITS):
        raise APIError(errors.malformed(field))
    return int(text)
