"""The sandbox itself: an ASGI app that answers as HTX does."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import AsyncGenerator

from htx_async.clock import Clock
from htx_async.sandbox import auth, connection, endpoints, errors
from htx_async.sandbox.access import authorize
from htx_async.sandbox.context import ReceivedRequest, Visit
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.fault import WireFault
from htx_async.sandbox.fault_schedule import FaultSchedule
from htx_async.sandbox.fixtures import default_users
from htx_async.sandbox.rate_windows import WindowRule, Windows
from htx_async.sandbox.records import SandboxUser
from htx_async.sandbox.request import Asked, Receive, Scope, Send, has_body
from htx_async.sandbox.responses import (
    CARRIES_A_BODY,
    Answer,
    ExpireUnit,
    json_answer,
    limit_headers,
    send_answer,
)
from htx_async.sandbox.state import World, readable

ARRIVALS_KEPT = 100_000
"""How many arrivals a sandbox remembers."""

_EXPIRE_UNITS = ("milliseconds", "epoch_milliseconds", "epoch_seconds")


class Sandbox:
    """
    An HTX that runs here: an ASGI app.

    Use it with `httpx.ASGITransport(app=Sandbox())`, or listen with `serve()`.

    *users* is the world; without it there is a parent user with the keys "access-key" and
    "secret-key", and *currencies* and *accounts* say how large its world is (see
    `default_users`). *limits*: whether requests are counted, or a number that HTX's limits are
    multiplied by. *window*: how they are counted; HTX's own windows seem to be "fixed": they open
    with the first request. *expire_unit*: how the end of a window is told in the header
    `X-HB-RateLimit-Requests-Expire`. Windows run on the clock's `monotonic()`, all else on its
    `now()`.
    """

    def __init__(
        self,
        users: tuple[SandboxUser, ...] | None = None,
        *,
        currencies: int | None = None,
        accounts: int | None = None,
        limits: bool | float = True,
        window: WindowRule = "fixed",
        expire_unit: ExpireUnit = "milliseconds",
        clock: Clock | None = None,
    ) -> None:
        if users is None:
            users = default_users(currencies=currencies, accounts=accounts)
        elif not (currencies is None and accounts is None):
            message = "currencies and accounts shape the default world: not together with users"
            raise ValueError(message)
        if expire_unit not in _EXPIRE_UNITS:
            message = f"expire_unit must be one of {', '.join(_EXPIRE_UNITS)}"
            raise ValueError(message)
        self._world = World(tuple(users))
        self._windows = Windows(window, 1 if isinstance(limits, bool) else limits)
        self._counts = limits is not False
        self._expire_unit: ExpireUnit = expire_unit
        self._clock = clock or Clock()
        self._arrivals: deque[ReceivedRequest] = deque(maxlen=ARRIVALS_KEPT)
        self._rate_limited = 0
        self._requests = 0
        self._faults = FaultSchedule()

    @property
    def faults(self) -> FaultSchedule:
        """Return the faults that it is told to have."""
        return self._faults

    @property
    def users(self) -> tuple[SandboxUser, ...]:
        """Return the users of this world."""
        return self._world.users

    @property
    def account_ids(self) -> tuple[int, ...]:
        """Return the ids of the first user's accounts whose balance can be read, as listed."""
        return readable(self.users[0]) if self.users else ()

    @property
    def arrivals(self) -> deque[ReceivedRequest]:
        """Return the latest arrivals, in order; at most 100,000."""
        return self._arrivals

    @property
    def requests(self) -> int:
        """How many requests there were in all."""
        return self._requests

    @property
    def rate_limited(self) -> int:
        """Return how many requests were refused as too many."""
        return self._rate_limited

    def reset(self) -> None:
        """Forget all arrivals and all that was counted. Orders of faults stay."""
        self._windows.clear()
        self._arrivals.clear()
        self._rate_limited = 0
        self._requests = 0

    @contextlib.asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str, None]:
        """
        Listen on a port of this machine, any free one for 0, and give the base URL.

        Runs in the running loop. `OSError` if the port is taken. Needs the extra `sandbox`.
        """
        try:
            from htx_async.sandbox.server import listen  # noqa: PLC0415  # uvicorn is optional
        except ImportError as error:
            message = 'Sandbox.serve() needs uvicorn: pip install "htx-async[sandbox]"'
            raise ImportError(message) from error
        async with listen(self, host, port, self._clock) as base_url:
            yield base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope, `http` or `lifespan`."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            message = f"the sandbox speaks http only, not {scope['type']}"
            raise NotImplementedError(message)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = Visit(Asked.read(scope), self._clock.monotonic(), self._clock.now())
        found = endpoints.find(visit.asked.method, visit.asked.path)
        if found is not None:
            visit.endpoint, visit.variables = found
        fault = self._faults.meet(visit.endpoint)
        visit.now += fault.ahead
        answer = fault.answer(await self._answer(visit, receive), visit.version)
        self._note(visit, answer)
        verdict = fault.limit(visit.verdict, visit.endpoint.per if visit.endpoint else 1.0)
        headers = limit_headers(verdict, self._expire_unit, visit.now)
        sending = functools.partial(send_answer, answer, visit.asked, headers, visit.now, send)
        if isinstance(fault, WireFault):
            await connection.find(scope, fault).play(fault, sending)
        else:
            await sending()

    async def _answer(self, visit: Visit, receive: Receive) -> Answer:
        try:
            endpoint = _wanted(visit)
            if await has_body(visit.asked, receive):
                return CARRIES_A_BODY
            self._admit(visit, endpoint)
            call = endpoints.Call(self._world, visit.user, visit.variables, visit.params, visit.now)
            return json_answer(endpoint.envelope(endpoint.handler(call)))
        except APIError as refused:
            cause = refused.cause
            version = visit.version
            return json_answer(cause.body(version), cause.code_in(version), cause.status)

    def _admit(self, visit: Visit, endpoint: endpoints.Endpoint) -> None:
        # Whether HTX counts a request before it looks at the signature is not known. Here one
        # that is refused for its signature, address or permission does not count.
        if endpoint.permission is not None:
            self._identify(visit, endpoint.permission)
        if self._counts:
            self._count(visit, endpoint)

    def _identify(self, visit: Visit, permission: str) -> None:
        visit.params = auth.parameters(visit.asked.query)
        key = auth.verify(visit.asked, visit.params, self._world.keys, visit.now)
        visit.user = self._world.owner(key)
        authorize(key, visit.asked.ip, permission)

    def _count(self, visit: Visit, endpoint: endpoints.Endpoint) -> None:
        who = visit.user.uid if visit.user else visit.asked.ip
        counted = (endpoint.path, who)
        visit.verdict = self._windows.admit(counted, endpoint.limit, endpoint.per, visit.at)
        if not visit.verdict.admitted:
            raise APIError(errors.TOO_MANY)

    def _note(self, visit: Visit, answer: Answer) -> None:
        self._requests += 1
        self._rate_limited += visit.rate_limited
        self._arrivals.append(visit.arrival(answer))


def _wanted(visit: Visit) -> endpoints.Endpoint:
    if visit.endpoint is None:
        raise APIError(errors.NO_SUCH_PATH)
    return visit.endpoint


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
