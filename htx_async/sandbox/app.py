"""The sandbox itself: an ASGI app that responds as HTX does."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, get_args

import attrs
import msgspec

from htx_async.clock import Clock
from htx_async.models.account import Account
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.sandbox import (
    auth,
    changes,
    endpoints,
    errors,
    movement_endpoints,  # noqa: F401  # pyright: ignore[reportUnusedImport] - declares endpoints
    user_endpoints,  # noqa: F401  # pyright: ignore[reportUnusedImport] - declares endpoints
)
from htx_async.sandbox.changes import Amount
from htx_async.sandbox.connection import ConnectionFault, connection_of
from htx_async.sandbox.context import ReceivedRequest, RequestContext
from htx_async.sandbox.endpoint import Endpoint
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.fault_schedule import FaultSchedule
from htx_async.sandbox.fixtures import default_users
from htx_async.sandbox.rate_windows import RateWindows, WindowRule
from htx_async.sandbox.records import HistoryRow, SandboxAccount, SandboxUser
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
from htx_async.sandbox.validation import check_choice, check_range

MAX_ARRIVALS = 100_000
"""Number of requests that a sandbox remembers."""

_DEFAULT_REQUESTS, _DEFAULT_PER = 10, 1.0
"""HTX, "Rate Limiting Rule": 10 requests in 1 s where an endpoint's page states no limit."""


class Sandbox:
    """
    Local mock of HTX: an ASGI app.

    Use it with `httpx.ASGITransport(app=Sandbox())`, or listen on a port with `serve()`.

    Args:
        users: Users; `None`: a parent user with the keys `"access-key"` and `"secret-key"`, and its
            sub users (see `default_users`).
        currencies: Number of currencies of the default user's spot account.
        accounts: Number of accounts of the default user.
        limits: Whether requests are counted, or a factor for HTX's limits.
        window: Counting rule: `"fixed"` (a window opens with the first request, as HTX seems to
            do), `"sliding"` or `"bucket"`.
        expire_unit: Unit of the header `X-HB-RateLimit-Requests-Expire`: `"milliseconds"`,
            `"epoch_milliseconds"` or `"epoch_seconds"`.
        clock: Source of time; `None`: the system's. Rate limits use its `monotonic()`, everything
            else its `now()`.

    Raises:
        ValueError: An argument is wrong.
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
        self._routes: dict[Endpoint, endpoints.Handler] = {}
        self._faults = FaultSchedule()
        self._arrivals: deque[ReceivedRequest] = deque(maxlen=MAX_ARRIVALS)
        self._requests = 0
        self._rate_limited = 0

    @property
    def faults(self) -> FaultSchedule:
        """The fault schedule."""
        return self._faults

    @property
    def users(self) -> tuple[SandboxUser, ...]:
        """The users."""
        return self._state.users

    @property
    def account_ids(self) -> tuple[int, ...]:
        """Ids of the first user's accounts whose balance HTX returns, in the order of the list."""
        return balance_account_ids(self.users[0]) if self.users else ()

    @property
    def arrivals(self) -> deque[ReceivedRequest]:
        """The latest requests, in order; at most 100,000."""
        return self._arrivals

    @property
    def requests(self) -> int:
        """Number of all requests."""
        return self._requests

    @property
    def rate_limited(self) -> int:
        """Number of requests that exceeded a rate limit."""
        return self._rate_limited

    def set_balance(
        self,
        account: int | str | Account | SandboxAccount,
        currency: str,
        *,
        trade: Amount | None = None,
        frozen: Amount | None = None,
    ) -> None:
        """
        Change the balance of a currency, from the next request on.

        Args:
            account: An id, a type of the first user such as `"spot"` or `"margin:btcusdt"`, or an
                account of the sandbox or of a client.
            currency: The currency in lower case.
            trade: The new amount; `None`: unchanged, or 0 if the account does not have the
                currency.
            frozen: The same for the amount in orders.

        Raises:
            ValueError: An argument is wrong.
        """
        amounts = {"trade": trade, "frozen": frozen}
        texts = {
            name: changes.amount_text(amount, name)
            for name, amount in amounts.items()
            if amount is not None
        }
        self._change_balance(account, currency, texts)

    def set_points(self, amount: Amount, group_id: int = 0) -> None:
        """
        Change the points of the first user in one group, from the next request on.

        A new group expires in a year, termless points (group 0) do not expire.
        """
        check_range("group_id", group_id, 0)
        user = self._state.first_user
        text = changes.amount_text(amount, "amount")
        points = changes.with_points(user.points, text, group_id, self._clock.now())
        self._state = self._state.replace(user, attrs.evolve(user, points=points))
        for account in user.accounts:
            if str(account.id) == points.account_id:
                amounts = {"trade": points.acct_balance}
                self._change_balance(account, changes.POINTS_CURRENCY, amounts)

    def add_account(self, type: str, subtype: str = "") -> SandboxAccount:
        """Add an account without a balance to the first user, and return it."""
        user = self._state.first_user
        account = SandboxAccount(self._state.next_account_id, type, subtype)
        self._state = self._state.replace(user, changes.with_account(user, account))
        return account

    def add_movement(
        self,
        account: int | str | Account | SandboxAccount,
        currency: str,
        amount: Amount,
        *,
        type: str = "transfer",
        at: datetime | None = None,
    ) -> HistoryRow:
        """
        Add a change to the history of an account, and return it. Balances do not change.

        Args:
            account: An id, a type of the first user such as `"spot"` or `"margin:btcusdt"`, or an
                account of the sandbox or of a client.
            currency: The currency in lower case.
            amount: The change; below 0 if the account pays it.
            type: The reason as HTX names it, such as `"trade"` or `"deposit"`.
            at: The time, an aware datetime; `None`: now.

        Raises:
            ValueError: An argument is wrong.
        """
        known, user = self._state.find(account)
        row = HistoryRow(
            known.id,
            1 + max((row.record_id for row in user.history), default=10**17),
            currency,
            changes.amount_text(amount, "amount"),
            type,
            int((self._clock.now() if at is None else at.timestamp()) * 1000),
        )
        history = (*user.history, row)
        self._state = self._state.replace(user, attrs.evolve(user, history=history))
        return row

    def route(self, path: str, data: Any, *, limit: RateLimit | None = None) -> None:
        """
        Respond to GET requests of *path* with *data*, for code that calls `HTXClient.get`.

        A signature is checked if there is one.

        Args:
            path: The path, with variables as in `/v1/order/orders/{order-id}`. It takes precedence
                over a path that the sandbox serves itself.
            data: What JSON can express; amounts as text, or `Decimal`.
            limit: The rate limit; `None`: 10 requests in 1 s, as HTX counts where a page states
                none.

        Raises:
            ValueError: *path* does not start with `/`, or contains a query.
        """
        if not path.startswith("/") or "?" in path:
            message = f"path must start with / and not contain a query, got {path!r:.40}"
            raise ValueError(message)
        requests, per = (limit.requests, limit.per) if limit else (_DEFAULT_REQUESTS, _DEFAULT_PER)
        endpoint = Endpoint(path, limit=requests, per=per, is_routed=True)
        json = msgspec.Raw(msgspec.json.encode(data))
        others = {known: each for known, each in self._routes.items() if known.path != path}
        self._routes = {endpoint: lambda _: json, **others}
        self._faults.endpoints.add(endpoint.name)

    def reset(self) -> None:
        """Forget all requests and rate limits used. The fault schedule is kept."""
        self._windows.clear()
        self._arrivals.clear()
        self._requests = 0
        self._rate_limited = 0

    @contextlib.asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str, None]:
        """
        Listen on a port of this machine in the running loop, and yield the base URL.

        Args:
            host: The address to listen on.
            port: The port; 0: any free one.

        Raises:
            OSError: The port is in use.
            ImportError: The extra `sandbox` is not installed.
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
        context.endpoint, context.variables = endpoints.find(
            request.method, request.path, (*self._routes, *endpoints.ENDPOINTS)
        )
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
            is_optional = endpoint.is_routed and not auth.is_signed(context.request)
            if not is_optional:
                self._authenticate(context, endpoint.permission)
        if self._is_limited:
            self._count(context, endpoint)
        handler = self._routes.get(endpoint) or endpoints.ENDPOINTS[endpoint]
        data = handler(context)
        return json_response(endpoint.envelope(data))

    def _change_balance(
        self,
        account: int | str | Account | SandboxAccount,
        currency: str,
        amounts: Mapping[str, str],
    ) -> None:
        known, user = self._state.find(account)
        changed = changes.with_balance(known, currency, amounts)
        self._state = self._state.replace(user, changes.with_account(user, changed))

    def _authenticate(self, context: RequestContext, permission: str) -> None:
        request = context.request
        context.params = auth.parse_query(request.query)
        key = auth.authenticate(request, context.params, self._state.keys, context.now)
        context.user = self._state.owner(key)
        auth.authorize(key, request.ip, permission)

    def _count(self, context: RequestContext, endpoint: Endpoint) -> None:
        client = context.user.uid if context.user else context.request.ip
        key = (endpoint, client)
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
