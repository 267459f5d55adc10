"""The sandbox itself: an ASGI app that responds as HTX does."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, get_args

import msgspec

from htx_async.clock import Clock
from htx_async.models.account import Account
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.sandbox.changes import Amount
from htx_async.sandbox.context import ReceivedRequest
from htx_async.sandbox.endpoint import Endpoint
from htx_async.sandbox.environment import Environment
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.fault_schedule import FaultSchedule
from htx_async.sandbox.fixtures import default_users
from htx_async.sandbox.http import DEFAULT_PER, DEFAULT_REQUESTS, HTTPService
from htx_async.sandbox.rate_windows import WindowRule
from htx_async.sandbox.records import SandboxAccount, SandboxUser
from htx_async.sandbox.request import Receive, Scope, Send
from htx_async.sandbox.responses import ExpireUnit
from htx_async.sandbox.state import balance_account_ids
from htx_async.sandbox.stream.hub import StreamHub
from htx_async.sandbox.validation import check_choice
from htx_async.sandbox.world import Counters, World

MAX_ARRIVALS = 100_000
"""Number of requests that a sandbox remembers."""


class Sandbox:
    """
    Local mock of HTX: an ASGI app.

    Use it with `httpx.ASGITransport(app=Sandbox())`, or listen on a port with `serve()`: there it
    also serves the stream of account changes, at `/ws/v2`.

    *users*: default is a parent user with the keys "access-key" and "secret-key", and its sub
    users; *currencies* and *accounts* set the size of its data (see `default_users`). *limits*:
    whether requests are counted, or a factor for HTX's limits. *window*: the counting rule; HTX
    seems to use "fixed", which opens with the first request. *expire_unit*: the unit of the header
    `X-HB-RateLimit-Requests-Expire`. *counters*: whether the serial numbers of a stream are "equal"
    to those of REST, or "differ": then the stream counts by itself. HTX does not say which. Windows
    use the clock's `monotonic()`, everything else its `now()`.
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
        counters: Counters = "equal",
        clock: Clock | None = None,
    ) -> None:
        if users is None:
            users = default_users(currencies=currencies, accounts=accounts)
        elif not (currencies is None and accounts is None):
            message = "currencies and accounts shape the default users. Omit them, or users."
            raise ValueError(message)
        check_choice("expire_unit", expire_unit, get_args(ExpireUnit))
        self._clock = clock or Clock()
        self._environment = Environment(
            World(tuple(users), counters, self._clock),
            FaultSchedule(),
            self._clock,
            self._record,
            None if limits is False else float(limits),
        )
        self._http = HTTPService(self._environment, window, expire_unit)
        self._hub = StreamHub(self._environment)
        self._arrivals: deque[ReceivedRequest] = deque(maxlen=MAX_ARRIVALS)
        self._requests = 0
        self._rate_limited = 0

    @property
    def faults(self) -> FaultSchedule:
        """Return the schedule of faults."""
        return self._environment.faults

    @property
    def users(self) -> tuple[SandboxUser, ...]:
        """Return the users."""
        return self._environment.world.state.users

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

    def set_balance(
        self,
        account: int | str | Account | SandboxAccount,
        currency: str,
        *,
        trade: Amount | None = None,
        frozen: Amount | None = None,
    ) -> None:
        """
        Change the balance of a currency, from the next request on. Streams push it at once.

        *account*: an id, a type of the first user such as "spot" or "margin:btcusdt", or an account
        of the sandbox or of a client. *trade*, *frozen*: the new amounts; `None`: unchanged, or 0
        if the account does not have the currency. `ValueError` if an argument is wrong.
        """
        self.move(account, currency, trade=trade, frozen=frozen)

    def move(
        self,
        account: int | str | Account | SandboxAccount,
        currency: str,
        *,
        trade: Amount | None = None,
        frozen: Amount | None = None,
        loan: Amount | None = None,
        interest: Amount | None = None,
        cause: str = "other",
        seq: int | None = None,
    ) -> None:
        """
        Change the balance of a currency as `set_balance` does, and say why.

        Streams push the change with this *cause*: one of HTX's change types, e.g. "order.place" or
        "deposit". *trade*, *frozen*, *loan*, *interest*: the new amounts, not differences; `None`:
        unchanged. *seq*: the serial number of the change; `None`: the next one. A smaller one is
        what a counter that restarted has.
        """
        amounts = {"trade": trade, "frozen": frozen, "loan": loan, "interest": interest}
        self._environment.world.change_balance(account, currency, amounts, cause=cause, seq=seq)

    def set_points(self, amount: Amount, group_id: int = 0) -> None:
        """
        Change the points of the first user in one group, from the next request on.

        A new group expires in a year, termless points (group 0) do not expire.
        """
        self._environment.world.set_points(amount, group_id)

    def add_account(self, type: str, subtype: str = "") -> SandboxAccount:
        """Add an account without a balance to the first user, and return it."""
        return self._environment.world.add_account(type, subtype)

    def route(self, path: str, data: Any, *, limit: RateLimit | None = None) -> None:
        """
        Respond to GET requests of *path* with *data*, for code that calls `HTXClient.get`.

        *path* may contain variables, e.g. `/v1/order/orders/{order-id}`; it takes precedence over a
        path that the sandbox serves itself. *data*: what JSON can express; amounts as text, or
        `Decimal`. *limit*: the rate limit; `None`: 10 requests in 1 s, as HTX counts where a page
        states none. A signature is checked if there is one.
        """
        if not path.startswith("/") or "?" in path:
            message = f"path must start with / and not contain a query, got {path!r:.40}"
            raise ValueError(message)
        requests, per = (limit.requests, limit.per) if limit else (DEFAULT_REQUESTS, DEFAULT_PER)
        endpoint = Endpoint(path, limit=requests, per=per, is_routed=True)
        json = msgspec.Raw(msgspec.json.encode(data))
        self._http.add_route(endpoint, lambda _: json)
        self.faults.endpoints.add(endpoint.name)

    def reset(self) -> None:
        """Forget all requests and rate limits used. The schedule of faults is kept."""
        self._http.reset()
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
            from htx_async.sandbox.server import listen  # noqa: PLC0415  # they are optional
        except ImportError as error:
            message = (
                'Sandbox.serve() needs uvicorn and websockets: pip install "htx-async[sandbox]"'
            )
            raise ImportError(message) from error
        async with listen(self, self._hub, host, port, self._clock) as base_url:
            yield base_url

    def interrupt_streams(self, fault: Fault) -> None:
        """
        Let *fault* happen to all open streams now, whatever they are about to send.

        It is `close()` or a connection fault, e.g. `reset()`, `hang()` or `answer_and_close()`.
        """
        self._hub.interrupt(fault)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope, `http` or `lifespan`."""
        if scope["type"] == "http":
            await self._http.serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        else:
            message = f"the sandbox serves http only, not {scope['type']}"
            raise NotImplementedError(message)

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
