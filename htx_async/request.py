"""
Request, response and endpoint: what travels through the middleware chain.

Each middleware is a `Handler`: it takes a request, passes it to the next handler and returns the
response. Errors are raised. The one exception is an error in a response (HTX returned an error, or
the response cannot be decoded): parsing attaches it as `Response.error`, and rate limiting raises
it, because it first needs the response's headers and the time of its first byte.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import force_setattr

from htx_async.call_state import CallState, CallStats
from htx_async.errors import HTXError
from htx_async.options import RequestOptions
from htx_async.ratelimit.token_bucket import RateLimit

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """
    One page of a list that HTX returns in pages.

    Attributes:
        records: Its records, in HTX's order.
        next_id: Identifies the next page; `None`: this is the last one.
    """

    records: tuple[T, ...]
    next_id: int | None = None


class Endpoint(msgspec.Struct, Generic[T], frozen=True):
    """
    One endpoint of HTX's API.

    Attributes:
        path: Path as HTX documents it, with `{...}` where a value goes.
        limit: Requests that HTX allows one user (unsigned: one IP address), whatever the
            parameters.
        data_type: What a response is decoded into: a model, a tuple of models, `int`, or a `Page`
            of models; `bytes`: it is not decoded.
        signed: Whether requests are signed.
        name: Method and path.
        is_paged: Whether the data type is a `Page`.
        content_type: What the `data` of a response is decoded into: a tuple for a `Page`.
    """

    path: str
    limit: RateLimit
    data_type: type[T]
    method: str = "GET"
    signed: bool = True
    name: str = ""
    is_paged: bool = False
    content_type: Any = None

    def __post_init__(self) -> None:
        force_setattr(self, "name", f"{self.method} {self.path}")
        content: Any = self.data_type
        if get_origin(content) is Page:
            force_setattr(self, "is_paged", True)  # noqa: FBT003 - a value
            content = tuple[get_args(content)[0], ...]  # type: ignore[misc]  # derived
        force_setattr(self, "content_type", content)


class _RedactedRepr(msgspec.Struct, frozen=True):
    """A struct whose repr shows `_repr_fields` only: the others are secret, or long."""

    _repr_fields: ClassVar[tuple[str, ...]] = ()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self._repr_fields]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


class Request(_RedactedRepr, frozen=True):
    """
    A request to an endpoint.

    Attributes:
        path: The path as it is sent, with its values filled in.
        params: Query parameters besides the authentication, not yet encoded.
        options: Options of the call.
        call: State of the call. A request is used for one call.
        query: The query as it is sent. It is a secret once it is signed.
        is_internal: Whether it serves another request: the calibration of the clock.
        account_id: The account that the data must be of; `None`: any.
        started_at: When the timeout of its call began, in monotonic seconds, if the call has sent
            other requests before; `None`: with this request.
    """

    _repr_fields: ClassVar[tuple[str, ...]] = (
        "endpoint",
        "path",
        "params",
        "options",
        "is_internal",
    )

    endpoint: Endpoint[Any]
    path: str
    params: tuple[tuple[str, str], ...] = ()
    options: RequestOptions = RequestOptions()
    call: CallState = msgspec.field(default_factory=CallState)
    query: str = ""
    is_internal: bool = False
    account_id: int | None = None
    started_at: float | None = None

    @property
    def id(self) -> int:
        """Identifies the request in events."""
        return self.call.request_id

    @property
    def target(self) -> str:
        """Path and query as they are sent. A secret once the request is signed."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def key(self) -> Hashable:
        """Calls of one client with equal keys are identical."""
        endpoint = self.endpoint
        how = (endpoint.name, endpoint.data_type, endpoint.signed)
        options = self.options
        return (*how, self.path, self.params, options.retry, options.attempt_timeout)


def no_action() -> None:
    """Do nothing: there is no connection to close."""


class Response(_RedactedRepr, frozen=True):
    """
    A response of HTX.

    Attributes:
        status: HTTP status.
        headers: Response headers, names in lower case.
        body: The decompressed body.
        first_byte_at: When its first byte arrived, in monotonic seconds.
        sent_query: The query of the request: a response may repeat the secrets in it.
        server_time: HTX's time in the response, in seconds since 1970; `None`: there was none.
        error: What HTX returned instead of data, or why the response cannot be decoded.
        value: The decoded data.
        stats: Attempts and queue times of the call.
        close_connection: Closes the connection that it arrived on, if that belongs to the package.
    """

    _repr_fields: ClassVar[tuple[str, ...]] = (
        "status",
        "first_byte_at",
        "server_time",
        "error",
        "stats",
    )

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte_at: float = -math.inf
    sent_query: str = ""
    server_time: float | None = None
    error: HTXError | None = None
    value: Any = None
    stats: CallStats = CallStats()
    close_connection: Callable[[], object] = no_action


Handler = Callable[[Request], Awaitable[Response]]
