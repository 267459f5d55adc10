"""The client: builds the middleware chain and manages its lifetime."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack, cast

from msgspec.structs import asdict

from htx_async import validation
from htx_async.auth.credentials import Credentials
from htx_async.auth.provider import CredentialStore, Provider
from htx_async.clock import Clock, ServerClock
from htx_async.errors import InvalidInputError
from htx_async.events import EventEmitter, Listener
from htx_async.middleware.coalescing import RequestCoalescing
from htx_async.middleware.parsing import EnvelopeParsing
from htx_async.middleware.rate_limiting import RateLimiting
from htx_async.middleware.retrying import Retrying
from htx_async.middleware.schema_drift import SchemaDriftReporter
from htx_async.middleware.signing import Signing
from htx_async.models.account import Account
from htx_async.options import RequestOptions, RetryPolicy
from htx_async.ratelimit.limiter import RateLimiter, shared_rate_limiter
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Handler, Request
from htx_async.resources import ENDPOINTS
from htx_async.resources.accounts import Accounts
from htx_async.resources.points import Points
from htx_async.resources.raw import (
    EndpointRegistry,
    ParamValue,
    RawResponse,
    check_params,
    check_path,
    to_raw_response,
)

if TYPE_CHECKING:
    from htx_async.transports.base import AsyncTransport

T = TypeVar("T")

BASE_URL = "https://api.huobi.pro"


class OptionOverrides(TypedDict, total=False):
    """Options that `HTXClient.with_options` accepts."""

    timeout: float
    attempt_timeout: float
    retry: RetryPolicy
    coalesce: bool
    queue_timeout: float | None
    max_queue: int | None


class HTXClient:
    """
    Client for the accounts, balances and points of one HTX user.

    A client belongs to one event loop, and serves any number of tasks: create one and keep it.

    Args:
        credentials: `Credentials`, or an async function without arguments that returns them. It
            is called before the first request, and again when HTX rejects the credentials.
        base_url: HTX's address, or that of a sandbox; plain http for loopback only.
        timeout: Seconds for a whole call: queueing, connecting, reading, retrying.
        attempt_timeout: Seconds for one attempt, from acquiring a connection to the last byte; at
            most what is left of `timeout`. A connection that was used before must respond in a
            third of that (but at least 0.5 s), or the next attempt opens a new one.
        retry: A `RetryPolicy`, or `NO_RETRY`.
        rate_limiter: A `RateLimiter` to share between clients whose keys belong to one HTX user;
            a `RedisRateLimiter` to share it between processes; `UNLIMITED` for servers without
            limits. `None`: clients with the same access key, or provider, share one.
        coalesce: Whether identical queued calls share one request.
        queue_timeout: Seconds that a call may wait for a rate-limit token before it raises
            `RateLimitQueueError`; 0: fail fast; `None`: until its `timeout`.
        max_queue: Number of queued calls beyond which a call raises `RateLimitQueueError`;
            `None`: any number.
        transport: An `HTTPTransport`, or any `httpx.AsyncBaseTransport` or one of httpx2, which
            sees signed URLs. It is not closed with the client. `None`: the client has connections
            of its own, and closes them.
        max_connections: Connections at a time.
        max_body: Largest body of a response, in bytes, decompressed.
        on_event: Called with an `Event` whenever something happens to a call. It must be fast.
        clock: Source of time; `None`: the system's. With a clock the client has a rate limiter of
            its own.

    Raises:
        InvalidInputError: An argument is wrong. Nothing was opened or sent.
    """

    def __init__(
        self,
        credentials: Credentials | Provider,
        *,
        base_url: str = BASE_URL,
        timeout: float = 30.0,
        attempt_timeout: float = 10.0,
        retry: RetryPolicy = RetryPolicy(),
        rate_limiter: RateLimiter | None = None,
        coalesce: bool = True,
        queue_timeout: float | None = None,
        max_queue: int | None = None,
        transport: AsyncTransport | None = None,
        max_connections: int = 20,
        max_body: int = 16 * 2**20,
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(credentials, Credentials) and not callable(credentials):
            msg = f"credentials must be Credentials(...), got {type(credentials).__name__}"
            del credentials  # keys passed as plain text must not be in a traceback
            raise InvalidInputError(msg)
        origin = validation.parse_base_url(base_url)
        validation.int_at_least(max_connections, 1, "max_connections")
        validation.int_at_least(max_body, 1, "max_body")
        self._options = RequestOptions(
            timeout=timeout,
            attempt_timeout=attempt_timeout,
            retry=retry,
            coalesce=coalesce,
            queue_timeout=queue_timeout,
            max_queue=max_queue,
        )
        owner = _owner_of(credentials)
        if rate_limiter is None:
            rate_limiter = RateLimiter() if clock else shared_rate_limiter(owner)
        self._rate_limiter = rate_limiter.for_owner(owner)
        self._rate_limiter.check(self._options.attempt_timeout)
        self._repr = f"HTXClient({_describe(credentials)}, base_url={str(origin)!r})"
        self._owns_stack = True
        self._endpoints = EndpointRegistry(ENDPOINTS)
        self._cached_accounts: list[Account] = []

        clock = self._clock = clock or Clock()
        server_clock = self._server_clock = ServerClock(clock)
        events = EventEmitter(on_event, clock)
        drift = SchemaDriftReporter(clock, events)
        store = CredentialStore(credentials, clock)
        from htx_async.transports.adapter import adapter_for  # noqa: PLC0415 - slow import

        adapter = self._adapter = adapter_for(
            transport, origin, clock, max_connections=max_connections, max_body=max_body
        )
        # A request passes these from first to last, and its response from last to first.
        limiter, slots = self._rate_limiter, adapter.slots
        middleware: list[Callable[[Handler], Handler]] = [
            lambda call_next: RequestCoalescing(call_next, clock, events, str(origin)),
            lambda call_next: Retrying(call_next, clock, server_clock, store, adapter),
            lambda call_next: RateLimiting(call_next, limiter, slots, clock, server_clock, events),
            lambda call_next: EnvelopeParsing(
                call_next, server_clock.observe, drift, server_clock.now
            ),
            lambda call_next: Signing(call_next, store, origin.host, clock, server_clock),
        ]
        handler: Handler = adapter
        for layer in reversed(middleware):
            handler = layer(handler)
        self._coalescing = cast("RequestCoalescing", handler)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """
        Create a client from the environment: `HTX_BASE_URL`, and keys as `Credentials.from_env`.

        Args:
            **options: Options of the class; they take precedence over the environment.

        Raises:
            InvalidInputError: A key is missing, or an argument is wrong.
        """
        if base_url := os.environ.get("HTX_BASE_URL"):
            options.setdefault("base_url", base_url)
        return cls(Credentials.from_env(), **options)

    def with_options(self, **overrides: Unpack[OptionOverrides]) -> Self:
        """
        Return a copy of the client with other options for its calls.

        The copy shares everything else, is cheap, and ends with its original: closing it does
        nothing.

        Args:
            **overrides: Any of `timeout`, `attempt_timeout`, `retry`, `coalesce`, `queue_timeout`
                and `max_queue`.

        Raises:
            InvalidInputError: An option is unknown or wrong.
        """
        accepted = OptionOverrides.__annotations__
        unknown = overrides.keys() - accepted.keys()
        if unknown:
            msg = f"with_options accepts {', '.join(accepted)}, got {min(unknown)}"
            raise InvalidInputError(msg)
        values: dict[str, Any] = {**asdict(self._options), **overrides}
        options = RequestOptions(**values)
        self._rate_limiter.check(options.attempt_timeout)
        return copy.copy(self)._override(options)  # noqa: SLF001 - its own class

    def _override(self, options: RequestOptions) -> Self:
        self._options, self._owns_stack = options, False
        for resource in ("accounts", "points"):
            self.__dict__.pop(resource, None)  # that of the original has the other options
        return self

    @cached_property
    def accounts(self) -> Accounts:
        """Accounts, balances and valuations."""
        return Accounts(self, self._cached_accounts)

    @cached_property
    def points(self) -> Points:
        """Points, which pay HTX's fees."""
        return Points(self)

    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, ParamValue] | None = None,
        limit: RateLimit | None = None,
        signed: bool = True,
    ) -> RawResponse:
        """
        Request any path of HTX that responds to GET with `data`, for endpoints without a method.

        The request passes the same middleware as every call: rate limiting, coalescing, retries,
        clock correction.

        Args:
            path: The path, such as `/v2/user/uid`. All ids in a path count against one limit.
            params: Query parameters besides the authentication: text, whole numbers or `Decimal`.
                A float is not accepted: write the amount as text.
            limit: The rate limit on the endpoint's page. `None`: that of an earlier call, else 10
                in 1 s, HTX's rule where a page states none. A path that has a method keeps its own.
            signed: Whether the request is authenticated. Public data needs no signature.

        Raises:
            InvalidInputError: The path, a parameter or the limit is wrong. Nothing was sent.
            DecodeError: The response is not JSON, has no `data`, or has a number with too many
                digits.
            HTXError: See `htx_async.errors`.
        """
        path, query = check_path(path), check_params(params)
        endpoint = self._endpoints.endpoint(path, limit, signed=signed)
        called_at = self._clock.monotonic()
        response = await self._coalescing(Request(endpoint, path, query, self._options))
        return to_raw_response(endpoint, response, called_at, self._clock.monotonic())

    def limits(self) -> Mapping[str, RateLimitStatus]:
        """
        Return the state of the rate limit of each endpoint, by the endpoint's name.

        Paths that `get` was called with are included.
        """
        queues = {
            endpoint.name: self._rate_limiter.queue_for(endpoint, self._clock)
            for endpoint in self._endpoints.all
        }
        return MappingProxyType({name: queue.status() for name, queue in queues.items()})

    def clock_offset(self) -> float | None:
        """
        Return the seconds that HTX's clock is ahead of the local one; `None`: not known yet.

        Every response shows it, to about a second. Beyond 5 s, or after a `ClockError`, requests
        are signed with HTX's time instead of the local one.
        """
        return self._server_clock.offset()

    async def _request(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
        account_id: int | None = None,
    ) -> T:
        request = Request(
            endpoint, path or endpoint.path, params, self._options, account_id=account_id
        )
        return cast("T", (await self._coalescing(request)).value)

    async def aclose(self) -> None:
        """
        Close the client. Closing it again does nothing.

        Requests in flight are drained for at most 5 s. Queued calls raise `ClientClosedError`. A
        transport that was passed to the client stays open.

        Raises:
            EventLoopError: The client belongs to another event loop: close it there.
        """
        if not self._owns_stack:
            return
        self._coalescing.stop_accepting()
        try:
            await self._coalescing.drain()
        finally:
            try:
                await self._adapter.aclose()
            finally:
                await self._rate_limiter.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return self._repr


def _owner_of(credentials: Credentials | Provider) -> Hashable:
    # The keys of a provider may change; they belong to one user all the same.
    return credentials.fingerprint() if isinstance(credentials, Credentials) else credentials


def _describe(credentials: Credentials | Provider) -> str:
    # Not the repr of a provider: it may contain anything.
    return repr(credentials) if isinstance(credentials, Credentials) else "a provider"
