"""The client: builds the middleware chain and manages its lifetime."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, NoReturn, Self, TypedDict, TypeVar, Unpack, cast

from msgspec.structs import asdict

from htx_async import validation
from htx_async.auth.credentials import Credentials
from htx_async.auth.provider import CredentialStore, Provider, source_problem
from htx_async.clock import Clock, ServerClock
from htx_async.errors import DeadlineExceededError, InvalidInputError
from htx_async.events import EventEmitter, Listener, check_listener
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
from htx_async.resources.users import Users

if TYPE_CHECKING:
    from htx_async.stream.hub import StreamHub
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
    refresh_interval: float


class ClientOptions(OptionOverrides, total=False):
    """Options that `HTXClient.from_env` accepts: those of the class."""

    base_url: str
    rate_limiter: RateLimiter | None
    transport: AsyncTransport | None
    max_connections: int
    max_body: int
    on_event: Listener | None
    clock: Clock | None


class HTXClient:
    """
    Client for the accounts, balances and points of one HTX user.

    A client belongs to one event loop, and serves any number of tasks: create one and keep it.
    Close it by `async with` or `aclose()`: a client that sent a request and was not closed causes
    a `ResourceWarning` when it is garbage collected.

    Args:
        credentials: `Credentials`, or an async function without arguments that returns them. It
            is called before the first signed request, and again when HTX rejects the credentials;
            if it fails, the call raises `CredentialsError`.
        base_url: HTX's address, or that of a sandbox; plain http for loopback only.
        timeout: Seconds, above 0, for a whole call: queueing, connecting, reading, retrying. After
            that it raises `DeadlineExceededError`.
        attempt_timeout: Seconds, above 0, for one attempt, from acquiring a connection to the last
            byte; at most what is left of `timeout`, and at most 10 with a `RedisRateLimiter`. After
            that the attempt fails with `ConnectError` or `NoResponseError`, which are retried. A
            connection that was used before must respond in a third of that (but at least 0.5 s),
            or the next attempt opens a new one.
        retry: A `RetryPolicy`, or `NO_RETRY`.
        rate_limiter: A `RateLimiter` to share between clients whose keys belong to one HTX user;
            a `RedisRateLimiter` to share it between processes; `UNLIMITED` for servers without
            limits. `None`: clients with the same access key, or provider, share one.
        coalesce: Whether identical queued calls share one request; not with `queue_timeout=0`.
        queue_timeout: Seconds, at least 0, that a call may wait for a rate-limit token before it
            raises `RateLimitQueueError`; 0: fail fast; `None`: until its `timeout`.
        max_queue: Number of queued calls, at least 0, beyond which a call raises
            `RateLimitQueueError`; `None`: any number.
        refresh_interval: Seconds, at least 0, after which a credentials provider is called again
            because HTX rejects what it returned; 0: each time. A provider that raised is called
            again by the retry policy.
        transport: An `HTTPTransport`, or any `httpx.AsyncBaseTransport` or one of httpx2, which
            sees signed URLs. It is not closed with the client. `None`: the client has connections
            of its own, and closes them.
        max_connections: Number of connections, at least 1. Further attempts are queued.
        max_body: Bytes, at least 1, of the largest decompressed body of a response. A larger one
            is a `DecodeError`; the default is 16 MiB.
        on_event: A function that is called with an `Event` whenever something happens to a call.
            It must be fast. An exception that it raises is logged once.
        clock: Source of time; `None`: the system's. With a clock the client has a rate limiter of
            its own.

    Raises:
        InvalidInputError: An argument is wrong. Nothing was opened or sent.
    """

    _repr = "HTXClient(...)"  # of one whose construction failed: tracebacks show it, too

    def __init__(
        self,
        credentials: Credentials | Provider,
        *unexpected: Never,
        base_url: str = BASE_URL,
        timeout: float = 30.0,
        attempt_timeout: float = 10.0,
        retry: RetryPolicy = RetryPolicy(),
        rate_limiter: RateLimiter | None = None,
        coalesce: bool = True,
        queue_timeout: float | None = None,
        max_queue: int | None = None,
        refresh_interval: float = 30.0,
        transport: AsyncTransport | None = None,
        max_connections: int = 20,
        max_body: int = 16 * 2**20,
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        problem = source_problem(credentials) or validation.base_url_problem(base_url)
        if unexpected and not problem:
            problem = (
                "options must be named: HTXClient(Credentials(access_key, secret_key), timeout=5)"
            )
        if problem:
            # Keys as plain text, or a password in the URL, must not be in a traceback.
            del credentials, unexpected, base_url
            raise InvalidInputError(problem)
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
            refresh_interval=refresh_interval,
        )
        if on_event is not None:
            check_listener(on_event)
        if clock is not None:
            validation.instance_of(clock, Clock, "clock", "a Clock")
        if rate_limiter is not None:
            expected = "a RateLimiter, a RedisRateLimiter or UNLIMITED"
            validation.instance_of(rate_limiter, RateLimiter, "rate_limiter", expected)
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
        store = self._credentials = CredentialStore(credentials, clock)
        from htx_async.transports import adapter as adapters  # noqa: PLC0415 - slow import

        adapter = self._adapter = adapters.adapter_for(
            transport, origin, clock, max_connections=max_connections, max_body=max_body
        )
        hubs: list[StreamHub] = []  # at most one; copies of the client share it

        def stream_hub() -> StreamHub:
            if not hubs:
                from htx_async.stream.hub import StreamHub  # noqa: PLC0415 - an extra

                hub = StreamHub(origin, clock, server_clock, store)
                hub.can_connect = isinstance(adapter, adapters.PoolAdapter)
                hubs.append(hub)
            return hubs[0]

        self._hubs, self._stream_hub = hubs, stream_hub
        # A request passes these from first to last, and its response from last to first.
        limiter, slots = self._rate_limiter, adapter.slots
        middleware: list[Callable[[Handler], Handler]] = [
            lambda call_next: RequestCoalescing(call_next, clock, events, str(origin)),
            lambda call_next: Retrying(call_next, clock, server_clock, store, adapter),
            lambda call_next: RateLimiting(call_next, limiter, slots, clock, server_clock, events),
            lambda call_next: EnvelopeParsing(
                call_next, server_clock.observe, drift, server_clock.now, clock
            ),
            lambda call_next: Signing(call_next, store, origin.host, clock, server_clock),
        ]
        handler: Handler = adapter
        for layer in reversed(middleware):
            handler = layer(handler)
        self._coalescing = cast("RequestCoalescing", handler)
        self._close_check = _CloseCheck(self._repr, self._coalescing)

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """
        Create a client from the environment: `HTX_BASE_URL`, and keys as `Credentials.from_env`.

        Args:
            **options: Options of the class; they take precedence over the environment.

        Raises:
            InvalidInputError: A key is missing, or a variable or argument is wrong.
        """
        variable = "base_url" if "base_url" in options else "HTX_BASE_URL"
        base_url = options.setdefault("base_url", os.environ.get("HTX_BASE_URL") or BASE_URL)
        if problem := validation.base_url_problem(base_url, variable):
            del options, base_url  # a password in the URL must not be in a traceback
            raise InvalidInputError(problem)
        return cls(Credentials.from_env(), **options)

    def with_options(self, **overrides: Unpack[OptionOverrides]) -> Self:
        """
        Return a copy of the client with other options for its calls.

        The copy shares everything else, is cheap, and ends with its original: closing it does
        nothing.

        Args:
            **overrides: Any of `timeout`, `attempt_timeout`, `retry`, `coalesce`, `queue_timeout`,
                `max_queue` and `refresh_interval`.

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
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        return copied._override(options)  # noqa: SLF001 - its own class

    def _override(self, options: RequestOptions) -> Self:
        self._options, self._owns_stack = options, False
        return self

    # Not cached: client and resource would be a reference cycle.
    @property
    def accounts(self) -> Accounts:
        """Accounts, balances and valuations, and live balances."""
        return Accounts(self, self._cached_accounts, self._stream_hub, self._options.timeout)

    @property
    def points(self) -> Points:
        """Points, which pay HTX's fees."""
        return Points(self)

    @property
    def users(self) -> Users:
        """The user of the API key, the key itself, and sub users."""
        return Users(self)

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
        problem = ""
        query: tuple[tuple[str, str], ...] = ()
        try:
            path, query = check_path(path), check_params(params)
        except InvalidInputError as error:
            problem = str(error)
        if problem:
            del path, params  # of a signed URL that somebody pasted; a traceback shows them
            raise InvalidInputError(problem)
        validation.boolean(signed, "signed")
        endpoint = self._endpoints.endpoint(path, limit, signed=signed)
        called_at = self._clock.monotonic()
        response = await self._coalescing(Request(endpoint, path, query, self._options))
        return to_raw_response(endpoint, response, called_at, self._clock.monotonic())

    def limits(self) -> Mapping[str, RateLimitStatus]:
        """
        Return the state of the rate limit of each endpoint, by the endpoint's name.

        Paths that `get` was called with are included.
        """
        queue_for, clock = self._rate_limiter.queue_for, self._clock
        return {each.name: queue_for(each, clock).status() for each in self._endpoints.all}

    def clock_offset(self) -> float | None:
        """
        Return the seconds that HTX's clock is ahead of the local one; `None`: not known yet.

        Every response shows it, to about a second. Beyond 5 s, or after a `ClockError`, requests
        are signed with HTX's time instead of the local one.
        """
        return self._server_clock.offset()

    async def refresh_credentials(self) -> bool:
        """
        Call the credentials provider, after a planned rotation, and return whether they changed.

        Requests that are sent from now on use what it returns. If it fails, the client keeps the
        credentials that it has.

        Raises:
            CredentialsError: The provider failed.
            DeadlineExceededError: It took longer than `timeout`.
            InvalidInputError: The client has no provider, or it did not return `Credentials`.
        """
        self._coalescing.check_usable()
        seconds = self._options.timeout
        try:
            async with self._clock.timeout(seconds):
                return await self._credentials.renew()
        except TimeoutError:
            pass
        # Raised here, so that nothing is chained.
        msg = f"the credentials provider did not respond within {seconds:g} s (timeout)"
        raise DeadlineExceededError(msg)

    async def _request(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
        account_id: int | None = None,
        started_at: float | None = None,
    ) -> T:
        request = Request(
            endpoint,
            path or endpoint.path,
            params,
            self._options,
            account_id=account_id,
            started_at=started_at,
        )
        return cast("T", (await self._coalescing(request)).value)

    def _monotonic(self) -> float:
        return self._clock.monotonic()

    def _server_time(self) -> float:
        return self._server_clock.now()

    def _is_own_key(self, access_key: str) -> bool:
        current = self._credentials.current
        return current is not None and current.auth_params()[0][1] == access_key

    async def aclose(self) -> None:
        """
        Close the client. Closing it again does nothing.

        Streams end. Requests in flight are drained for at most 5 s. Queued calls raise
        `ClientClosedError`. A transport that was passed to the client stays open.

        Raises:
            EventLoopError: The client belongs to another event loop: close it there.
        """
        if not self._owns_stack:
            return
        self._coalescing.stop_accepting()
        try:
            for hub in self._hubs:
                await hub.aclose()
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

    def __reduce__(self) -> NoReturn:
        msg = (
            "HTXClient cannot be pickled: it has keys and open connections. "
            "Create one in each process"
        )
        raise TypeError(msg)

    def __repr__(self) -> str:
        return self._repr


class _CloseCheck:
    """Warns when a client and all its copies have gone without being closed after a request."""

    def __init__(self, client: str, coalescing: RequestCoalescing) -> None:
        self._client = client
        self._coalescing = coalescing

    def __del__(self) -> None:
        if self._coalescing.is_unclosed:
            msg = f"unclosed {self._client}: use `async with`, or `await htx.aclose()`"
            warnings.warn(msg, ResourceWarning, source=self, stacklevel=2)


def _owner_of(credentials: Credentials | Provider) -> Hashable:
    # The keys of a provider may change; they belong to one user all the same.
    return credentials.fingerprint() if isinstance(credentials, Credentials) else credentials


def _describe(credentials: Credentials | Provider) -> str:
    # Not the repr of a provider: it may contain anything.
    return repr(credentials) if isinstance(credentials, Credentials) else "a provider"
