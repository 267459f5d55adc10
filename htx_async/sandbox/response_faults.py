"""Faults in the response: what HTX, or a gateway in front of it, sends instead."""

from __future__ import annotations

import enum
import re
from http import HTTPStatus
from typing import Any, ClassVar, Final

import attrs
import msgspec

from htx_async.sandbox import errors
from htx_async.sandbox.errors import ErrorSpec
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.rate_windows import Admission
from htx_async.sandbox.responses import Headers, SandboxResponse, error_response
from htx_async.sandbox.state import SandboxState
from htx_async.sandbox.stream.messages import Message, error_instead_of
from htx_async.sandbox.world import World


class Missing(enum.Enum):
    """The value of a field that the response does not have."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING

_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)|\[(\d+)\]")
_TOO_MANY_CONNECTIONS = ErrorSpec.same(429, "Too Many Requests")
# A gzip header, then a block of a type that does not exist.
_INVALID_GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 54
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"


@attrs.frozen
class ErrorResponse(Fault):
    """API error, in the envelope of the path."""

    spec: ErrorSpec

    def response(self, _original: SandboxResponse, version: int, /) -> SandboxResponse:
        """Return the API error."""
        return error_response(self.spec, version)

    def message(self, original: Message, /) -> Message:
        """Return the API error in place of *original*."""
        return error_instead_of(original, self.spec)

    @property
    def refuses(self) -> bool:
        """Return `True`: the request failed, or the subscription ended."""
        return True


@attrs.frozen
class RawErrorResponse(Fault):
    """API error with exactly this body, whatever the path."""

    for_messages: ClassVar[bool] = False
    json: bytes
    code: str | int

    def response(self, _original: SandboxResponse, _version: int, /) -> SandboxResponse:
        """Return the API error."""
        return SandboxResponse(200, self.json, self.code)


@attrs.frozen
class RateLimited(Fault):
    """API error of an exceeded rate limit."""

    headers: bool
    retry_after: float | None

    def response(self, _original: SandboxResponse, version: int, /) -> SandboxResponse:
        """Return the API error, with `Retry-After` if there is a value for it."""
        headers: Headers = ()
        if self.retry_after is not None:
            headers = ((b"retry-after", b"%g" % self.retry_after),)
        return attrs.evolve(error_response(errors.RATE_LIMITED, version), headers=headers)

    def message(self, original: Message, /) -> Message:
        """Return the API error in place of *original*."""
        return error_instead_of(original, _TOO_MANY_CONNECTIONS)

    @property
    def refuses(self) -> bool:
        """Return `True`: the request failed."""
        return True

    def admission(self, original: Admission | None, per: float, /) -> Admission | None:
        """Return that nothing remains; `None` without headers."""
        if not self.headers:
            return None
        expires_in = original.expires_in if original else per
        return Admission(admitted=False, remain=0, expires_in=expires_in)


@attrs.frozen
class Page(Fault):
    """HTML page of a gateway, without rate-limit headers."""

    status: int
    location: str | None = None

    def response(self, _original: SandboxResponse, _version: int, /) -> SandboxResponse:
        """Return the page."""
        headers = () if self.location is None else ((b"location", self.location.encode()),)
        return SandboxResponse(self.status, self._body, content_type=b"text/html", headers=headers)

    def message(self, original: Message, /) -> Message:
        """Return the page."""
        return attrs.evolve(original, data=self._body)

    @property
    def _body(self) -> bytes:
        known = self.status in HTTPStatus.__members__.values()
        title = f"{self.status} {HTTPStatus(self.status).phrase}" if known else str(self.status)
        return _PAGE.format(title).encode()

    def admission(self, _original: Admission | None, _per: float, /) -> None:
        """Return `None`: no headers."""


@attrs.frozen
class ClockSkew(Fault):
    """HTX's clock is wrong."""

    seconds: float

    @property
    def clock_offset(self) -> float:
        """Return the number of seconds that HTX's clock is ahead."""
        return self.seconds


@attrs.frozen
class FieldFault(Fault):
    """A field of the response is wrong or missing. *json*: its value; `None`: missing."""

    path: str
    json: bytes | None

    def response(self, original: SandboxResponse, _version: int, /) -> SandboxResponse:
        """Return *original* with the field changed; unchanged if it has no such field."""
        return attrs.evolve(original, body=self._changed(original.body))

    def message(self, original: Message, /) -> Message:
        """Return *original* with the field changed; unchanged if it has no such field."""
        return attrs.evolve(original, data=self._changed(original.data))

    def _changed(self, body: bytes) -> bytes:
        *parents, last = parse_path(self.path)
        try:
            data = msgspec.json.decode(body)
            self._change(_descend(data, parents), last)
        except (LookupError, TypeError, msgspec.DecodeError):
            return body
        return msgspec.json.encode(data)

    def _change(self, parent: Any, step: str | int) -> None:
        if isinstance(parent, dict) and isinstance(step, int):
            raise TypeError(step)
        if self.json is None:
            del parent[step]
        else:
            parent[step] = msgspec.Raw(self.json)


def parse_path(path: str) -> list[str | int]:
    """Return the names and indexes of *path*, e.g. `data.list[0].balance`."""
    steps = list(_STEP.finditer(path))
    if not steps or "".join(step[0] for step in steps) != path:
        message = f"path must look like data.list[0].balance, got {path!r}"
        raise ValueError(message)
    return [step[1] or int(step[2]) for step in steps]


def _descend(data: Any, steps: list[str | int]) -> Any:
    for step in steps:
        data = data[step]
    return data


@attrs.frozen
class HugeBody(Fault):
    """Blanks follow the body."""

    size: int

    def response(self, original: SandboxResponse, _version: int, /) -> SandboxResponse:
        """Return *original* with the padding."""
        return attrs.evolve(original, padded_to=self.size)

    def message(self, original: Message, /) -> Message:
        """Return *original* with the padding."""
        return attrs.evolve(original, data=original.data.ljust(self.size))


@attrs.frozen
class InvalidGzip(Fault):
    """The body is declared as gzip, and is not gzip."""

    def response(self, original: SandboxResponse, _version: int, /) -> SandboxResponse:
        """Return *original* with another body and `Content-Encoding`."""
        headers = (*original.headers, (b"content-encoding", b"gzip"))
        return attrs.evolve(original, body=_INVALID_GZIP, headers=headers)

    def message(self, original: Message, /) -> Message:
        """Return binary data: other streams of HTX are compressed with gzip."""
        return attrs.evolve(original, data=_INVALID_GZIP, opcode="binary")


@attrs.frozen
class Stale(Fault):
    """The response is older than the request, altogether or in some *currencies*."""

    for_messages: ClassVar[bool] = False
    seconds: float
    currencies: frozenset[str] | None

    def state(self, world: World, at: float, /) -> SandboxState:
        """Return the data of that time."""
        return world.state_at(at - self.seconds, self.currencies)
