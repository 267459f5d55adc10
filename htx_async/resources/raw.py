"""Reads that have no resource here: any path, and the plain values that HTX answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from typing import Any, Final

import attrs

from htx_async import validation
from htx_async.errors import DecodeError, InvalidInputError
from htx_async.models import exact
from htx_async.redaction import redacted, secrets_in
from htx_async.request import Endpoint, RateLimit, Response

DEFAULT_LIMIT: Final = RateLimit(10, per=1.0)
"""HTX, "Rate Limiting Rule": 10 times a second where the page of an endpoint states nothing."""

_COOKIE = "set-cookie"


def _shape(data: Any) -> str:
    """Return what *data* is, not what it says: it may be long, and is the caller's."""
    kind = type(data).__name__
    return f"<{kind} of {len(data)}>" if isinstance(data, Sized) else f"<{kind}>"


@attrs.frozen
class Answer:
    """
    What HTX answered to `HTXClient.get`. It is the caller's own: no other read has the same.

    Attributes:
        data: The `data` of the answer: `dict`, `list`, `str`, `int`, `bool` or `None`. A number
            with a point or an exponent is a `Decimal`, digit for digit; nothing is a float.
        status: The status of the HTTP answer.
        headers: Its headers, names in lower case, without cookies and without what was signed.
        attempts: How many requests it took.
        waited: Seconds that this call waited for a token and a connection.
        took: Seconds from the call to the answer, waiting included.
        envelope: What stood beside `data`, such as `next-id` for the next page.
    """

    data: Any = attrs.field(repr=_shape)
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    attempts: int
    waited: float
    took: float
    envelope: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)


class Others:
    """The endpoints of a client: those that it knows, and those that it was told of by a path."""

    def __init__(self, known: Iterable[Endpoint[Any]]) -> None:
        self._known = {endpoint.name: endpoint for endpoint in known}
        self._told: dict[str, Endpoint[bytes]] = {}

    @property
    def all(self) -> tuple[Endpoint[Any], ...]:
        """Every endpoint that has a limit here."""
        return tuple((self._known | self._told).values())

    def endpoint(self, path: str, limit: object, *, signed: bool) -> Endpoint[bytes]:
        """Return the endpoint that HTX counts *path* for, with its limit."""
        counted = self._counted(path)
        name = Endpoint(counted, DEFAULT_LIMIT, bytes).name
        told = None if limit is None else _checked(limit)
        before = self._known.get(name) or self._told.get(name)
        if before is None:
            self._told[name] = Endpoint(counted, told or DEFAULT_LIMIT, bytes)
        elif name in self._told and told not in (None, before.limit):
            had = f"{before.limit.limit} in {before.limit.per:g} s"
            msg = f"the limit of {name} is {had} since it was first asked: give the same, or none"
            raise InvalidInputError(msg)
        rate = (self._known.get(name) or self._told[name]).limit
        return Endpoint(counted, rate, bytes, signed=signed)

    def _counted(self, path: str) -> str:
        """Return *path* as HTX's pages write it: all ids of an endpoint are counted together."""
        parts = path.split("/")
        for endpoint in self._known.values():
            if _fits(endpoint.path.split("/"), parts):
                return endpoint.path
        return "/".join("{id}" if part.isdecimal() else part for part in parts)


def _fits(template: list[str], parts: list[str]) -> bool:
    return len(template) == len(parts) and all(
        name.startswith("{") or name == part for name, part in zip(template, parts, strict=True)
    )


def _checked(limit: object) -> RateLimit:
    if not isinstance(limit, RateLimit):
        kind = type(limit).__name__
        msg = f"limit must be a RateLimit such as RateLimit(20, per=2.0), not {kind}"
        raise InvalidInputError(msg)
    validation.at_least(limit.limit, 1, "the limit of a RateLimit")
    validation.seconds(limit.per, "the per of a RateLimit")
    return limit


def answered(endpoint: Endpoint[bytes], response: Response, since: float, now: float) -> Answer:
    """Return the answer to a call from *since* to *now* (monotonic seconds)."""
    try:
        envelope = exact.values(response.body, "the answer")
    except DecodeError as error:
        error.endpoint, error.http_status, error.path = endpoint.name, response.status, "data"
        raise
    return Answer(
        data=envelope.pop("data"),
        status=response.status,
        headers=_cleaned(response),
        attempts=response.attempts,
        waited=response.waited(since),
        took=now - since,
        envelope=envelope,
    )


def _cleaned(response: Response) -> dict[str, str]:
    """Return the headers without what they may echo of the request."""
    secrets = secrets_in(response.asked)
    shown = ((name, value) for name, value in response.headers.items() if name != _COOKIE)
    return {name: redacted(value, secrets) for name, value in shown}
