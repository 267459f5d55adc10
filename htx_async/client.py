"""The client: the one place that knows the order of the layers."""

from __future__ import annotations

import copy
import os
from collections.abc import Hashable, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack, cast

from msgspec.structs import asdict

from htx_async import validation
from htx_async.auth.credentials import Credentials
from htx_async.auth.provider import CredentialStore, Provider
from htx_async.clock import Clock, ServerClock, running_loop
from htx_async.errors import InvalidInputError
from htx_async.events import Listener, SafeListener
from htx_async.middleware.coalescing import Sharing
from htx_async.middleware.drift import SchemaDriftReporter
from htx_async.middleware.parsing import EnvelopeParsing
from htx_async.middleware.rate_limiting import Limiting
from htx_async.middleware.retrying import Retrying
from htx_async.middleware.signing import Signing
from htx_async.options import RequestOptions, RetryPolicy
from htx_async.ratelimit.limiter import RateLimiter, shared_rate_limiter
from htx_async.ratelimit.queue import RateLimitStatus, TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket
from htx_async.request import Endpoint, Request
from htx_async.resources import accounts, points, raw
from htx_async.resources.accounts import Accounts
from htx_async.resources.points import Points
from htx_async.resources.raw import EndpointRegistry, RawResponse
from htx_async.transports.adapter import HTTP, AiohttpTransport

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

BASE_URL = "https://api.huobi.pro"
ENDPOINTS: tuple[Endpoint[Any], ...] = (
    accounts.LIST,
    accounts.BALANCE,
    accounts.VALUATION,
    points.BALANCE,
)


class Changes(TypedDict, total=False):
    """What `HTXClient.with_options` takes."""

    timeout: float
    retry: RetryPolicy
    coalesce: bool
    queue_timeout: float | None
    max_queue: int | None


class HTXClient:
    """
    Reads accounts, balances and points of one HTX user.

    One client serves one event loop, and any number of tasks in it: make one and keep it.

    Args:
        credentials: Who asks: `Credentials`, or an async function without arguments that returns
            them. It is called before the first read, and again when HTX no longer accepts them.
            Its clients share a budget; with clients that have other keys of that user, pass one.
        base_url: HTX's address, or that of a sandbox; plain http for loopback only.
        timeout: Seconds for a whole call: waiting, connecting, reading, repeating.
        retry: What is repeated, how often and how soon: a `RetryPolicy`, or `NO_RETRY`.
        rate_limiter: Whose tokens are spent, a `RateLimiter`; `None`: the process's own for this access key;
            a `RedisRateLimiter`: those of many processes; `UNLIMITED`: nobody's, for servers that do
            not count.
        coalesce: Whether equal reads that still wait for a token become one request.
        queue_timeout: Seconds that a read may wait for a token, else `RateLimitQueueError`; 0: it goes at
            once or not at all; `None`: as long as its `timeout`.
        max_queue: Reads that may wait for a token at a time, else `RateLimitQueueError`; `None`: any
            number.
        transport: What sends the requests: an `httpx.AsyncBaseTransport`, which sees signed URLs
            and is not closed with the client; `AiohttpTransport()`; `None`: httpx's own, made and
            closed by the client.
        max_connections: Connections at a time, of our own transport or of *transport*.
        max_body: Bytes of an answer, unzipped, beyond which it is not read on.
        on_event: Called with an `Event` whenever something happens to a read. It must be quick.
        clock: Time; `None`: the system's. With another one the client has a budget of its own.

    Raises:
        InvalidInputError: An argument cannot be right. Nothing is opened or sent yet.
    """

    def __init__(
        self,
        credentials: Credentials | Provider,
        *,
        base_url: str = BASE_URL,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        rate_limiter: RateLimiter | None = None,
        coalesce: bool = True,
        queue_timeout: float | None = None,
        max_queue: int | None = None,
        transport: httpx.AsyncBaseTransport | AiohttpTransport | None = None,
        max_connections: int = 20,
        max_body: int = 16 * 2**20,
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(credentials, Credentials) and not callable(credentials):
            msg = f"credentials must be Credentials(...), not {type(credentials).__name__}"
            del credentials  # keys given as plain text must not show in a traceback
            raise InvalidInputError(msg)
        origin = validation.parse_base_url(base_url)
        validation.int_at_least(max_connections, 1, "max_connections")
        validation.int_at_least(max_body, 1, "max_body")
        if rate_limiter is None:
            rate_limiter = RateLimiter() if clock else shared_rate_limiter(_owner(credentials))
        budget = rate_limiter.for_owner(_owner(credentials))
        clock = clock or Clock()
        listener = SafeListener(on_event) if on_event else None
        self._options = RequestOptions(
            timeout=timeout,
            retry=retry,
            coalesce=coalesce,
            queue_timeout=queue_timeout,
            max_queue=max_queue,
        )
        self._original = True
        self._budget, self._clock, self._time = budget, clock, ServerClock(clock)
        keys = CredentialStore(credentials, clock)
        # One request runs straight down these layers, and its answer straight back up.
        self._http = HTTP(
            transport, origin, clock, max_connections=max_connections, max_body=max_body
        )
        signing = Signing(self._http, keys, origin.host, clock, self._time)
        slots = TokenQueue(TokenBucket(RateLimit(max_connections, per=0.0)), clock)
        drift = SchemaDriftReporter(clock, listener)
        opening = EnvelopeParsing(signing, self._time.observe, drift)
        self._slots = slots
        time = self._time
        limiting = Limiting(opening, budget, slots, clock, time.now, listener, time.offset)
        retrying = Retrying(limiting, clock, self._time, keys)
        self._sharing = Sharing(retrying, clock, listener, str(origin))
        self._shown = f"HTXClient({_shown(credentials)}, base_url={str(origin)!r})"
        self.accounts: Accounts = Accounts(self._ask)
        self.points: Points = Points(self._ask)
        self._others = EndpointRegistry(ENDPOINTS)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """
        Make a client from the environment: keys as in `Credentials.from_env`, `HTX_BASE_URL`.

        *options* are those of the class; what is given there goes before the environment.

        Raises:
            InvalidInputError: A key is missing, or something cannot be right.
        """
        if base_url := os.environ.get("HTX_BASE_URL"):
            options.setdefault("base_url", base_url)
        return cls(Credentials.from_env(), **options)

    def with_options(self, **changes: Unpack[Changes]) -> Self:
        """
        Return a copy for calls that want other options; all else it shares with its original.

        It costs next to nothing, and ends with its original: closing the copy does nothing.

        Args:
            **changes: Any of `timeout`, `retry`, `coalesce`, `queue_timeout` and `max_queue`.

        Raises:
            InvalidInputError: An option is unknown, or cannot be right.
        """
        unknown = changes.keys() - Changes.__annotations__.keys()
        if unknown:
            msg = f"with_options takes {', '.join(Changes.__annotations__)}: not {min(unknown)}"
            raise InvalidInputError(msg)
        chosen: dict[str, Any] = {**asdict(self._options), **changes}
        return copy.copy(self)._copy(RequestOptions(**chosen))  # noqa: SLF001 - its own

    def _copy(self, options: RequestOptions) -> Self:
        self._original, self._options = False, options
        self.accounts = self.accounts.asking(self._ask)
        self.points = Points(self._ask)
        return self

    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, raw.ParamValue] | None = None,
        limit: RateLimit | None = None,
        signed: bool = True,
    ) -> RawResponse:
        """
        Read any path of HTX that answers a GET with `data`: for what has no resource here yet.

        It goes through the same layers as every read: tokens, sharing, repeating, HTX's clock.

        Args:
            path: As it is sent, such as `/v2/user/uid`. All ids in a path count together.
            params: What the query says besides the authentication, in any order: text, whole
                numbers or `Decimal`. No float: write the amount that is meant as text.
            limit: What the endpoint's page allows one user. `None`: what was told first here,
                else 10 in 1 s, HTX's rule where a page states nothing. A path that has a
                resource keeps its own.
            signed: Whether to say who asks. Public data needs no signature.

        Raises:
            InvalidInputError: The path, a parameter or the limit cannot be right.
            DecodeError: The answer is no JSON, has no `data`, or a number of too many digits.
            HTXError: What else can go wrong: see `htx_async.errors`.
        """
        path, said = raw.check_path(path), raw.check_params(params)
        endpoint = self._others.endpoint(path, limit, signed=signed)
        since = self._clock.monotonic()
        response = await self._sharing(Request(endpoint, path, said, self._options))
        return raw.to_raw_response(endpoint, response, since, self._clock.monotonic())

    def limits(self) -> Mapping[str, RateLimitStatus]:
        """
        Return how things stand at each endpoint, by its name: tokens, who waits, refusals.

        Paths that `get` was asked for are among them.
        """
        loop = self._sharing.loop or running_loop()
        queues = {
            endpoint.name: self._budget.peek(endpoint, self._clock, loop)
            for endpoint in self._others.all
        }
        return MappingProxyType({name: queue.status() for name, queue in queues.items()})

    def clock_offset(self) -> float | None:
        """
        Return the seconds that HTX's clock is ahead of the local one; `None`: not known yet.

        Every answer tells it, to about a second. Beyond 5 s, or when HTX complains, requests are
        signed with HTX's time instead of the local one.
        """
        return self._time.offset()

    async def _ask(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
    ) -> T:
        request = Request(endpoint, path or endpoint.path, params, self._options)
        return cast("T", (await self._sharing(request)).value)

    async def aclose(self) -> None:
        """
        Close the client; closing twice is fine.

        What has left is waited for, at most 5 s. Who still waits for a token gets
        `ClientClosedError`. A transport that was passed in stays open.

        Raises:
            EventLoopError: The client belongs to another event loop: close it there.
        """
        if not self._original:
            return
        self._sharing.refuse()
        try:
            await self._sharing.see_off()
        finally:
            try:
                await self._http.aclose()
            finally:
                await self._budget.flush()

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
        return self._shown


def _owner(credentials: Credentials | Provider) -> Hashable:
    # The keys of a provider may change; they are of one user all the same.
    return credentials.fingerprint() if isinstance(credentials, Credentials) else credentials


def _shown(credentials: Credentials | Provider) -> str:
    # Not the repr of a provider: it may tell anything.
    return repr(credentials) if isinstance(credentials, Credentials) else "a provider"
