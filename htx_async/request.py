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
from htx_async.options import RequestOptions
from htx_async.ratelimit.token_bucket import RateLimit

T = TypeVar("T")


class Endpoint(msgspec.Struct, Generic[T], frozen=True):
    """
    One endpoint of HTX's API.

    Attributes:
        path: Path as HTX documents it, with `{...}` where a value goes.
        limit: Requests that HTX allows one user here, whatever the parameters.
        data_type: What the `data` of a response is decoded into: a model, a tuple of models or
            `int`; `bytes`: it is not decoded.
        signed: Whether requests are signed.
        name: Method and path.
    """

    path: str
    limit: RateLimit
    data_type: type[T]
    method: str = "GET"
    signed: bool = True
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
        how = (endpoint.name, endpoint.data_type, endpoint.signed)
        return (*how, self.path, self.params, self.options.retry)


class Response(_Silent, frozen=True):
    """
    One HTTP response.

    Attributes:
        status: HTTP status.
        headers: Response headers, names in lower case.
        body: The body, decompressed.
        first_byte_at: When the first byte arrived, in monotonic seconds.
        sent_query: The query that was sent, with secrets: the response may repeat it.
        server_time: HTX's wall clock when it responded, in seconds since 1970; `None`: not known.
        error: Why there is no value: an API error, or the response cannot be decoded. Everywhere
            else errors are raised. Parsing attaches this one, and rate limiting raises it: it needs
            the headers and the time of the first byte before.
        value: `data`, decoded into the `data_type` of the endpoint.
        attempts: Number of requests that were sent for it.
        queue_waits: When it was queued for tokens and connections: start and end of each wait, in
            monotonic seconds.
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
    error: HTXError | None = None
    value: Any = None
    attempts: int = 1
    queue_waits: tuple[tuple[float, float], ...] = ()

    def queue_time(self, since: float) -> float:
        """Return for how many seconds a caller who came at *since* has waited."""
        return queue_time(self.queue_waits, since)


Handler = Callable[[Request], Awaitable[Response]]
