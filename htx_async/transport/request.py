"""
What goes down the layers, and what comes back up.

Every layer is one verb, `Send`: it takes a request, hands it to the next one and returns
the response. None of them knows its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from htx_async.errors import HTXError
from htx_async.options import Options
from htx_async.shapes import Shape
from htx_async.transport.flight import Flight, waited

T = TypeVar("T")


@attrs.frozen
class RateLimit:
    """
    What HTX allows one user at one endpoint.

    Attributes:
        limit: Requests.
        per: Seconds: no window of so many may have more.
    """

    limit: int
    per: float


@attrs.frozen
class Usual:
    """
    How the `data` of an endpoint is written as a rule: then it is read along with its envelope.

    Attributes:
        kind: What msgspec makes of it.
        is_right: Tells whether that is all it must be. If not, its JSON is looked at closely.
    """

    kind: Any
    is_right: Callable[[Any], bool]


def _name_of(endpoint: Endpoint[Any]) -> str:
    return f"{endpoint.method} {endpoint.path}"


@attrs.frozen
class Endpoint(Generic[T]):
    """
    One read of HTX's API.

    Attributes:
        path: As HTX's pages write it, with `{...}` where a value goes.
        limit: What HTX allows one user at this endpoint, whatever the parameters.
        read: Makes the model from the JSON of `data`, or from what is usual; raises `DecodeError`.
        signed: Whether HTX wants to know who asks.
        shape: What its `data` looks like; `None`: anything.
        usual: How `data` is written as a rule, where it is worth while; `None`: its JSON is kept.
        name: Method and path, as HTX's pages write it.
    """

    path: str
    limit: RateLimit
    read: Callable[[Any], T] = attrs.field(repr=False, eq=False)
    method: str = "GET"
    signed: bool = True
    shape: Shape | None = attrs.field(default=None, repr=False, eq=False)
    usual: Usual | None = attrs.field(default=None, repr=False, eq=False)
    name: str = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_name_of, takes_self=True)
    )


# Without slots: then `evolve` copies all fields at once.
@attrs.frozen(slots=False)
class Request:
    """
    One read, on its way down.

    Attributes:
        path: What is sent: percent-encoded, values filled in.
        params: What the query says besides the authentication, not yet encoded.
        flight: Who waits for it, unless it joins another.
        query: What is sent after the `?`. Signed it is a secret.
        aside: Whether it only serves another read: the question what o'clock it is.
    """

    endpoint: Endpoint[Any]
    path: str
    params: tuple[tuple[str, str], ...] = ()
    options: Options = Options()
    flight: Flight = attrs.field(factory=Flight, eq=False, repr=False)
    query: str = attrs.field(default="", repr=False)
    aside: bool = False

    @property
    def key(self) -> Hashable:
        """What makes two reads of one client equal."""
        endpoint = self.endpoint
        how = (endpoint.name, endpoint.read, endpoint.signed)
        return (*how, self.path, self.params, self.options.retry)


@attrs.frozen(slots=False)
class Response:
    """
    One answer, on its way up.

    Attributes:
        headers: Names in lower case.
        began: When its first byte was here, in monotonic seconds.
        asked: The query that was sent: what an answer may echo, and nobody may see.
        at: HTX's time of day when it answered, in seconds since 1970; `None`: not told.
        data: Once the envelope is open, the JSON of `data`, a view of the body and not a copy;
            or what the endpoint calls usual.
        error: Why HTX refused, or why the answer makes no sense.
        value: The model, once it is made.
        attempts: The how-manieth attempt brought it.
        waits: When the read waited for tokens and connections: from, until, in monotonic seconds.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    began: float = -math.inf
    asked: str = attrs.field(default="", repr=False)
    at: float | None = None
    data: Any = attrs.field(default=b"", repr=False)
    error: HTXError | None = None
    value: Any = attrs.field(default=None, repr=False)
    attempts: int = 1
    waits: tuple[tuple[float, float], ...] = ()

    def waited(self, since: float) -> float:
        """Return for how many seconds a caller who came at *since* has waited."""
        return waited(self.waits, since)


V = TypeVar("V", Request, Response)


def evolve(value: V, /, **changes: Any) -> V:
    """Return a copy of *value* with *changes*, as `attrs.evolve` does, in a quarter of the time."""
    made = _new(type(value))
    vars(made).update(vars(value), **changes)
    return made


_new = object.__new__

Send = Callable[[Request], Awaitable[Response]]
