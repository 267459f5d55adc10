"""
What goes down the layers, and what comes back up.

Every layer is one verb, `Send`: it takes a request, hands it to the next one and returns
the response. None of them knows its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import msgspec
from msgspec.structs import force_setattr

from htx_async.call_state import Flight, waited
from htx_async.errors import HTXError
from htx_async.models.shapes import Shape
from htx_async.options import Options

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
        flight: Who waits for it, unless it joins another. A request flies once.
        query: What is sent after the `?`. Signed it is a secret.
        aside: Whether it only serves another read: the question what o'clock it is.
    """

    shown: ClassVar[tuple[str, ...]] = ("endpoint", "path", "params", "options", "aside")

    endpoint: Endpoint[Any]
    path: str
    params: tuple[tuple[str, str], ...] = ()
    options: Options = Options()
    flight: Flight = msgspec.field(default_factory=Flight)
    query: str = ""
    aside: bool = False

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

    shown: ClassVar[tuple[str, ...]] = ("status", "began", "at", "error", "attempts", "waits")

    status: int
    headers: Mapping[str, str]
    body: bytes
    began: float = -math.inf
    asked: str = ""
    at: float | None = None
    data: Any = b""
    error: HTXError | None = None
    value: Any = None
    attempts: int = 1
    waits: tuple[tuple[float, float], ...] = ()

    def waited(self, since: float) -> float:
        """Return for how many seconds a caller who came at *since* has waited."""
        return waited(self.waits, since)


Send = Callable[[Request], Awaitable[Response]]
