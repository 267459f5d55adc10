"""The sandbox itself: an ASGI app that responds as HTX does."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from datetime import datetime
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
from htx_async.sandbox.records import HistoryRow, SandboxAccount, SandboxUser
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
        counters: Whether the serial numbers of a stream are `"equal"` to those of REST, or
            `"differ"`: then the stream counts by itself. HTX does not document which.
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
        """The fault schedule."""
        return self._environment.faults

    @property
    def users(self) -> tuple[SandboxUser, ...]:
        """The users."""
        return self._environment.world.state.users

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
        Change the balance of a currency, from the next request on. Streams push it at once.

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
        Change the balance of a currency as `set_balance` does, with a cause.

        Args:
            account: As in `set_balance`.
            currency: The currency in lower case.
            trade: The new amount, not a difference; `None`: unchanged.
            frozen: The same for the amount in orders.
            loan: The same for the loan.
            interest: The same for the interest.
            cause: HTX's change type, such as `"order.place"` or `"deposit"`, which streams push.
            seq: Serial number of the change; `None`: the next one. A smaller one is that of a
                counter that was restarted.

        Raises:
            ValueError: An argument is wrong.
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
        return self._environment.world.add_movement(account, currency, amount, type, at)

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
        requests, per = (limit.requests, limit.per) if limit else (DEFAULT_REQUESTS, DEFAULT_PER)
        endpoint = Endpoint(path, limit=requests, per=per, is_routed=True)
        json = msgspec.Raw(msgspec.json.encode(data))
        self._http.add_route(endpoint, lambda _: json)
        self.faults.endpoints.add(endpoint.name)

    def reset(self) -> None:
        """Forget all requests and rate limits used. The fault schedule is kept."""
        self._http.reset()
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
        Apply *fault* to all open streams now, whatever they are about to send.

        Args:
            fault: `close()`, or a connection fault such as `reset()`, `hang()` or
                `answer_and_close()`.
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
