"""
What goes down the layers, and what comes back up.

Every layer is one verb, `Handler`: it takes a request, hands it to the next one and returns
the response. None of them knows its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
from msgspec.structs import force_setattr

from htx_async.call_state import Flight, queue_time
from htx_async.errors import HTXError
from htx_async.models.shapes import Shape
from htx_async.options import RequestOptions
from htx_async.ratelimit.token_bucket import RateLimit

T = TypeVar("T")


class Usual(msgspec.Struct, frozen=True):
    """
    How the `data` of an endpoint is written as a rule: then it is read along with its envelope.

    Attributes:
        kind: What msgspec makes of it.
        is_right: Tells whether that is all it must be. If not, its JSON is looked at closely.
    """

    kind: Any
    is_right: Callable[[Any], bool]


class Endpoint(msgspec.Struct, Generic[T], frozen=True):
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
    read: Callable[[Any], T]
    method: str = "GET"
    signed: bool = True
    shape: Shape | None = None
    usual: Usual | None = None
    name: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "name", f"{self.method} {self.path}")


class _Silent(msgspec.Struct, frozen=True):
    """Shows no more than *shown*: the rest is secret, or long."""

    shown: ClassVar[tuple[str, ...]] = ()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.shown]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"


class Request(_Silent, frozen=True):
    """
    One read, on its way down.

    Attributes:
        path: What is sent: percent-encoded, values filled in.
        params: What the query says besides the authentication, not yet encoded.
        call: Who waits for it, unless it joins another. A request flies once.
        query: What is sent after the `?`. SigningContext it is a secret.
        is_internal: Whether it only serves another read: the question what o'clock it is.
    """

    shown: ClassVar[tuple[str, ...]] = ("endpoint", "path", "params", "options", "is_internal")

    endpoint: Endpoint[Any]
    path: str
    params: tuple[tuple[str, str], ...] = ()
    options: RequestOptions = RequestOptions()
    call: Flight = msgspec.field(default_factory=Flight)
    query: str = ""
    is_internal: bool = False

    @property
    def key(self) -> Hashable:
        """What makes two reads of one client equal."""
        endpoint = self.endpoint
        how = (endpoint.name, endpoint.read, endpoint.signed)
        return (*how, self.path, self.params, self.options.retry)


class Response(_Silent, frozen=True):
    """
    One answer, on its way up.

    Attributes:
        headers: Names in lower case.
        first_byte_at: When its first byte was here, in monotonic seconds.
        sent_query: The query that was sent: what an answer may echo, and nobody may see.
        server_time: HTX's time of day when it answered, in seconds since 1970; `None`: not told.
        data: Once the envelope is open, the JSON of `data`, a view of the body and not a copy;
            or what the endpoint calls usual.
        error: Why HTX refused, or why the answer makes no sense.
        value: The model, once it is made.
        attempts: The how-manieth attempt brought it.
        queue_waits: When the read waited for tokens and connections: from, until, in monotonic seconds.
    """

    shown: ClassVar[tuple[str, ...]] = (
        "status",
        "first_byte_at",
        "server_time",
        "error",
        "attempts",
        "queue_waits",
    )

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte_at: float = -math.inf
    sent_query: str = ""
    server_time: float | None = None
    data: Any = b""
    error: HTXError | None = None
    value: Any = None
    attempts: int = 1
    queue_waits: tuple[tuple[float, float], ...] = ()

    def queue_time(self, since: float) -> float:
        """Return for how many seconds a caller who came at *since* has waited."""
        return queue_time(self.queue_waits, since)


Handler = Callable[[Request], Awaitable[Response]]
