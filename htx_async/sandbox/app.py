"""The sandbox itself: an ASGI app that responds as HTX does."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import AsyncGenerator
from typing import get_args

from htx_async.clock import Clock
from htx_async.sandbox import auth, endpoints, errors
from htx_async.sandbox.connection import ConnectionFault, connection_of
from htx_async.sandbox.context import ReceivedRequest, RequestContext
from htx_async.sandbox.endpoint import Endpoint
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.fault_schedule import FaultSchedule
from htx_async.sandbox.fixtures import default_users
from htx_async.sandbox.rate_windows import RateWindows, WindowRule
from htx_async.sandbox.records import SandboxUser
from htx_async.sandbox.request import ParsedRequest, Receive, Scope, Send, has_body
from htx_async.sandbox.responses import (
    BODY_FORBIDDEN,
    ExpireUnit,
    SandboxResponse,
    error_response,
    json_response,
    limit_headers,
    send_response,
)
from htx_async.sandbox.state import SandboxState, balance_account_ids
from htx_async.sandbox.validation import check_choice

MAX_ARRIVALS = 100_000
"""Number of requests that a sandbox remembers."""

_DEFAULT_PER = 1.0  # seconds that the window of an unknown path lasts


class Sandbox:
    """
    Local mock of HTX: an ASGI app.

    Use it with `httpx.ASGITransport(app=Sandbox())`, or listen on a port with `serve()`.

    *users*: default is a parent user with the keys "access-key" and "secret-key", and its sub
    users; *currencies* and *accounts* set the size of its data (see `default_users`). *limits*:
    whether requests are counted, or a factor for HTX's limits. *window*: the counting rule; HTX
    seems to use "fixed", which opens with the first request. *expire_unit*: the unit of the header
    `X-HB-RateLimit-Requests-Expire`. Windows use the clock's `monotonic()`, everything else its
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
            message = "currencies and accounts shape the default users. Omit them, or users."
            raise ValueError(message)
        check_choice("expire_unit", expire_unit, get_args(ExpireUnit))
        self._state = SandboxState(tuple(users))
        self._windows = RateWindows(window, 1 if isinstance(limits, bool) else limits)
        self._is_limited = limits is not False
        self._expire_unit: ExpireUnit = expire_unit
        self._clock = clock or Clock()
        self._faults = FaultSchedule()
        self._arrivals: deque[ReceivedRequest] = deque(maxlen=MAX_ARRIVALS)
        self._requests = 0
        self._rate_limited = 0

    @property
    def faults(self) -> FaultSchedule:
        """Return the schedule of faults."""
        return self._faults

    @property
    def users(self) -> tuple[SandboxUser, ...]:
        """Return the users."""
        return self._state.users

    @property
    def account_ids(self) -> tuple[int, ...]:
        """Return the ids of the first user's accounts whose balance HTX returns, as listed."""
        return balance_account_ids(self.users[0]) if self.users else ()

    @property
    def arrivals(self) -> deque[ReceivedRequest]:
        """Return the latest requests, in order; at most 100,000."""
        return self._arrivals

    @property
    def requests(self) -> int:
        """Return the number of all requests."""
        return self._requests

    @property
    def rate_limited(self) -> int:
        """Return the number of requests that exceeded a rate limit."""
        return self._rate_limited

    def reset(self) -> None:
        """Forget all requests and rate limits used. The schedule of faults is kept."""
        self._windows.clear()
        self._arrivals.clear()
        self._requests = 0
        self._rate_limited = 0

    @contextlib.asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str, None]:
        """
        Listen on *port* of this machine (0: any free one), and yield the base URL.

        Runs in the running loop. `OSError` if the port is in use. Needs the extra `sandbox`.
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
            await self._serve_http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        else:
            message = f"the sandbox serves http only, not {scope['type']}"
            raise NotImplementedError(message)

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = ParsedRequest.from_scope(scope)
        at, now = self._clock.monotonic(), self._clock.now()
        context = RequestContext(self._state, request, at, now)
        context.endpoint, context.variables = endpoints.find(request.method, request.path)
        fault = self._faults.match(context.endpoint)
        context.now += fault.clock_offset
        response = fault.response(await self._respond(context, receive), context.version)
        self._record(context.record(response))
        per = context.endpoint.per if context.endpoint else _DEFAULT_PER
        admission = fault.admission(context.admission, per)
        headers = limit_headers(admission, self._expire_unit, context.now)
        respond = functools.partial(send_response, response, request, headers, context.now, send)
        if isinstance(fault, ConnectionFault):
            await connection_of(scope, fault).play(fault, respond)
        else:
            await respond()

    async def _respond(self, context: RequestContext, receive: Receive) -> SandboxResponse:
        try:
            return await self._handle(context, receive)
        except APIError as error:
            return error_response(error.spec, context.version)

    async def _handle(self, context: RequestContext, receive: Receive) -> SandboxResponse:
        endpoint = context.endpoint
        if endpoint is None:
            raise APIError(errors.METHOD_NOT_ALLOWED)
        if await has_body(context.request, receive):
            return BODY_FORBIDDEN
        # Whether HTX counts a request before it checks the signature is not known. Here, a request
        # that fails authentication or authorization is not counted.
        if endpoint.permission is not None:
            self._authenticate(context, endpoint.permission)
        if self._is_limited:
            self._count(context, endpoint)
        data = endpoints.ENDPOINTS[endpoint](context)
        return json_response(endpoint.envelope(data))

    def _authenticate(self, context: RequestContext, permission: str) -> None:
        request = context.request
        context.params = auth.parse_query(request.query)
        key = auth.authenticate(request, context.params, self._state.keys, context.now)
        context.user = self._state.owner(key)
        auth.authorize(key, request.ip, permission)

    def _count(self, context: RequestContext, endpoint: Endpoint) -> None:
        client = context.user.uid if context.user else context.request.ip
        key = (endpoint.path, client)
        context.admission = self._windows.admit(key, endpoint.limit, endpoint.per, context.at)
        if not context.admission.admitted:
            raise APIError(errors.RATE_LIMITED)

    def _record(self, received: ReceivedRequest) -> None:
        self._requests += 1
        self._rate_limited += received.rate_limited
        self._arrivals.append(received)


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
