"""Faults of answers: what HTX, or something before it, says instead of the truth."""

from __future__ import annotations

import enum
import re
from http import HTTPStatus
from typing import Any, Final

import attrs
import msgspec

from htx_async.sandbox import errors
from htx_async.sandbox.errors import Cause
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.rate_windows import Verdict
from htx_async.sandbox.responses import Answer, json_answer


class Missing(enum.Enum):
    """The value of a field that is not there."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING

_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)|\[(\d+)\]")
# It begins as gzip does; then comes a block of a type that does not exist.
_GARBAGE = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 54
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"


@attrs.frozen
class Refusal(Fault):
    """HTX refuses, in the envelope of the path."""

    cause: Cause

    def answer(self, honest: Answer, version: int) -> Answer:
        """Return the error body."""
        del honest
        return json_answer(self.cause.body(version), self.cause.code_in(version), self.cause.status)


@attrs.frozen
class Body(Fault):
    """HTX refuses in exactly these words, whatever the path."""

    json: bytes
    code: str | int

    def answer(self, honest: Answer, version: int) -> Answer:
        """Return the error body."""
        del honest, version
        return Answer(200, self.json, self.code)


@attrs.frozen
class TooMany(Fault):
    """HTX refuses as it refuses one request too many."""

    headers: bool
    retry_after: float | None

    def answer(self, honest: Answer, version: int) -> Answer:
        """Return the error body, with `Retry-After` if that was asked for."""
        answer = Refusal(errors.TOO_MANY).answer(honest, version)
        if self.retry_after is None:
            return answer
        return attrs.evolve(answer, headers=((b"retry-after", b"%g" % self.retry_after),))

    def limit(self, honest: Verdict | None, per: float) -> Verdict | None:
        """Return that nothing is left, or nothing at all."""
        if not self.headers:
            return None
        return Verdict(admitted=False, remain=0, expires_in=honest.expires_in if honest else per)


@attrs.frozen
class Page(Fault):
    """Something before HTX answers with a page, without headers of limits."""

    status: int
    location: str | None = None

    def answer(self, honest: Answer, version: int) -> Answer:
        """Return the page."""
        del honest, version
        known = self.status in HTTPStatus.__members__.values()
        title = f"{self.status} {HTTPStatus(self.status).phrase}" if known else str(self.status)
        headers = () if self.location is None else ((b"location", self.location.encode()),)
        body = _PAGE.format(title).encode()
        return Answer(self.status, body, content_type=b"text/html", headers=headers)

    def limit(self, honest: Verdict | None, per: float) -> None:
        """Return nothing."""
        del honest, per


@attrs.frozen
class Skewed(Fault):
    """HTX's clock is wrong."""

    seconds: float

    @property
    def ahead(self) -> float:
        """Return by how much."""
        return self.seconds


@attrs.frozen
class Field(Fault):
    """One field of the answer is wrong, null or missing. *json*: its value; `None`: missing."""

    path: str
    json: bytes | None

    def answer(self, honest: Answer, version: int) -> Answer:
        """Return the answer with the field changed; as it is where there is no such place."""
        del version
        *way, last = steps(self.path)
        try:
            tree = msgspec.json.decode(honest.body)
            self._put(_found(tree, way), last)
        except (LookupError, TypeError, msgspec.DecodeError):
            return honest
        return attrs.evolve(honest, body=msgspec.json.encode(tree))

    def _put(self, inner: Any, last: str | int) -> None:
        if isinstance(inner, dict) and isinstance(last, int):
            raise TypeError(last)
        if self.json is not None:
            inner[last] = msgspec.Raw(self.json)
        else:
            del inner[last]


def steps(path: str) -> list[str | int]:
    """Return the names and numbers that *path*, `data.list[0].balance` say, goes along."""
    found = list(_STEP.finditer(path))
    if not found or "".join(step[0] for step in found) != path:
        message = f"a path looks like data.list[0].balance: got {path!r}"
        raise ValueError(message)
    return [step[1] or int(step[2]) for step in found]


def _found(tree: Any, way: list[str | int]) -> Any:
    for step in way:
        tree = tree[step]
    return tree


@attrs.frozen
class Huge(Fault):
    """The answer is followed by blanks."""

    size: int

    def answer(self, honest: Answer, version: int) -> Answer:
        """Return the answer, longer."""
        del version
        return attrs.evolve(honest, padded_to=self.size)


@attrs.frozen
class GzipGarbage(Fault):
    """The body says gzip, and is not."""

    def answer(self, honest: Answer, version: int) -> Answer:
        """Return garbage under the honest head."""
        del version
        coding = ((b"content-encoding", b"gzip"),)
        return attrs.evolve(honest, body=_GARBAGE, headers=(*honest.headers, *coding))
