"""A scripted exchange for streams: REST and sockets without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs

from htx_async import (
    Account,
    AccountBalance,
    AccountState,
    AccountType,
    BalanceEntry,
    BalanceType,
    Credentials,
    HistoryRecord,
    HTXError,
    TransactType,
)
from htx_async.auth.provider import CredentialStore
from htx_async.clock import Clock, ServerClock
from htx_async.stream.hub import StreamHub
from htx_async.stream.live import LiveBalances
from htx_async.stream.messages import Amounts
from htx_async.stream.selection import check_accounts
from htx_async.stream.sockets import SocketClosedError
from htx_async.validation import Origin

KEYS = Credentials("access-key-0123456789", "secret-key-0123456789")
SPOT = Account(1, AccountType.SPOT, "", AccountState.WORKING)
MARGIN = Account(2, AccountType.MARGIN, "btcusdt", AccountState.WORKING)
OTHER_MARGIN = Account(3, AccountType.MARGIN, "ethusdt", AccountState.WORKING)
OTC = Account(4, AccountType.OTC, "", AccountState.WORKING)
POINT = Account(5, AccountType.POINT, "", AccountState.WORKING)

Answer = dict[str, Any] | None
"""What the exchange answers; `None`: nothing."""


class FakeSocket:
    """A connection to a `FakeExchange`."""

    def __init__(self, exchange: FakeExchange) -> None:
        self.exchange = exchange
        self.sent: list[Any] = []
        self.is_open = True
        self.is_zombie = False
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()

    async def send(self, text: str) -> None:
        await asyncio.sleep(0)
        if not self.is_open:
            reason = "closed"
            raise SocketClosedError(reason)
        message = json.loads(text)
        self.sent.append(message)
        self.exchange.handle(self, message)

    async def receive(self) -> str | bytes:
        message = await self.inbox.get()
        if message is None:
            self.is_open = False
            reason = "HTX closed the connection with code 1006"
            raise SocketClosedError(reason)
        return message

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.is_open = False

    def say(self, message: Any) -> None:
        """Send something to the client."""
        is_raw = isinstance(message, str | bytes)
        self.inbox.put_nowait(message if is_raw else json.dumps(message))

    def cut(self) -> None:
        """Cut the connection."""
        self.inbox.put_nowait(None)


@attrs.define
class FakeExchange:
    """
    Accounts with balances, REST reads, and sockets.

    Attributes:
        auth: Answers to the next authentications; then all are accepted.
        sub: Answers to the next subscriptions.
        connect_errors: What the next connections fail with; a number: they take so long.
        read_errors: What the next reads of balances fail with.
        list_errors: What the next reads of the list fail with.
        history_errors: What the next reads of the history fail with.
        rest_delay: Seconds of a REST read.
        rest_offset: How much larger REST's numbers are.
    """

    clock: Clock
    accounts: tuple[Account, ...] = (SPOT,)
    auth: list[Answer] = attrs.field(factory=list)
    sub: list[Answer] = attrs.field(factory=list)
    connect_errors: list[HTXError | float] = attrs.field(factory=list)
    read_errors: list[HTXError | float] = attrs.field(factory=list)
    list_errors: list[HTXError] = attrs.field(factory=list)
    history_errors: list[HTXError] = attrs.field(factory=list)
    rest_delay: float = 0.05
    rest_offset: int = 0
    sockets: list[FakeSocket] = attrs.field(factory=list)
    reads: list[int] = attrs.field(factory=list)
    lists: int = 0
    stale: AccountBalance | None = None
    amounts: dict[int, dict[str, Amounts]] = attrs.field(factory=dict)
    numbers: dict[tuple[int, str], int] = attrs.field(factory=dict)
    records: list[HistoryRecord] = attrs.field(factory=list)
    loans: dict[int, tuple[BalanceEntry, ...]] = attrs.field(factory=dict)

    @property
    def socket(self) -> FakeSocket:
        """The latest connection."""
        return self.sockets[-1]

    async def open(self) -> FakeSocket:
        await self.clock.sleep(0.05)
        if self.connect_errors:
            error = self.connect_errors.pop(0)
            if isinstance(error, HTXError):
                raise error
            await self.clock.sleep(error)
        self.sockets.append(FakeSocket(self))
        return self.socket

    async def list(self) -> tuple[Account, ...]:
        self.lists += 1
        await self.clock.sleep(self.rest_delay)
        if self.list_errors:
            raise self.list_errors.pop(0)
        return self.accounts

    async def balance(self, account: Account | int | str) -> AccountBalance:
        assert isinstance(account, int)
        self.reads.append(account)
        await self.clock.sleep(self.rest_delay / 2)
        if self.read_errors:
            error = self.read_errors.pop(0)
            if isinstance(error, HTXError):
                raise error
            await self.clock.sleep(error)
        balance = self.rest(account)
        await self.clock.sleep(self.rest_delay / 2)
        return balance

    def rest(self, account_id: int) -> AccountBalance:
        """Return the balance that REST has now, or the stale one."""
        if self.stale is not None:
            return self.stale
        entries = [
            BalanceEntry(currency, kind, amount, seq_num=self.seq(account_id, currency, rest=True))
            for currency, amounts in self.amounts.get(account_id, {}).items()
            for kind, amount in zip((BalanceType.TRADE, BalanceType.FROZEN), amounts, strict=True)
        ]
        entries += self.loans.get(account_id, ())
        account = next(each for each in self.accounts if each.id == account_id)
        return AccountBalance(account.id, account.type, account.state, tuple(entries))

    def seq(self, account_id: int, currency: str, *, rest: bool = False) -> int:
        return self.numbers.get((account_id, currency), 0) + (self.rest_offset if rest else 0)

    def move(
        self,
        currency: str,
        trade: str,
        frozen: str = "0",
        *,
        account: int = 1,
        push: bool = True,
        cause: str | None = "order.match",
    ) -> None:
        """Change a balance, and push it to the latest connection."""
        amounts = Amounts(Decimal(trade), Decimal(frozen))
        self.records.append(self.record(account, currency, amounts, cause))
        self.amounts.setdefault(account, {})[currency] = amounts
        key = account, currency
        self.numbers[key] = self.numbers.get(key, 0) + 1
        if push and self.sockets and not self.socket.is_zombie:
            self.socket.say(self.push(account, currency, cause))

    def record(
        self, account: int, currency: str, amounts: Amounts, cause: str | None
    ) -> HistoryRecord:
        """Return the record of the history for a change."""
        return HistoryRecord(
            account,
            currency,
            len(self.records),
            Decimal(0),
            TransactType(cause or ""),
            amounts.trade,
            amounts.trade + amounts.frozen,
            datetime.fromtimestamp(self.clock.now(), UTC),
        )

    async def history(self, account: int, *, start: datetime) -> AsyncIterator[HistoryRecord]:
        """Yield the changes of an account since *start*."""
        await self.clock.sleep(self.rest_delay)
        if self.history_errors:
            raise self.history_errors.pop(0)
        for record in self.records:
            if record.account_id == account and record.transact_time >= start:
                yield record

    def push(self, account: int, currency: str, cause: str | None, **data: Any) -> dict[str, Any]:
        """Return the push of the state of a currency."""
        amounts = self.amounts[account][currency]
        return {
            "action": "push",
            "ch": "accounts.update#2",
            "data": {
                "currency": currency,
                "accountId": account,
                "balance": str(amounts.trade + amounts.frozen),
                "available": str(amounts.trade),
                "changeType": cause,
                "accountType": "trade",
                "changeTime": None,
                "seqNum": self.numbers[account, currency],
                **data,
            },
        }

    def handle(self, socket: FakeSocket, message: Any) -> None:
        """Answer a message of the client."""
        if message["action"] == "req":
            answer = self.auth.pop(0) if self.auth else ok("req", "auth")
            if answer is not None:
                socket.say(answer)
        elif message["action"] == "sub":
            answer = self.sub.pop(0) if self.sub else ok("sub", message["ch"])
            if answer is not None:
                socket.say(answer)
            if answer is not None and answer["code"] == 200 and not socket.is_zombie:
                for account, amounts in self.amounts.items():
                    for currency in amounts:
                        socket.say(self.push(account, currency, None))


def ok(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "code": 200, "ch": channel, "data": {}}


def refusal(code: int, message: str, channel: str = "auth", action: str = "req") -> dict[str, Any]:
    return {"action": action, "code": code, "ch": channel, "message": message}


@attrs.frozen
class Setup:
    """A hub on a scripted exchange."""

    exchange: FakeExchange
    hub: StreamHub
    server_clock: ServerClock

    def stream(self, accounts: Any = None, **options: Any) -> LiveBalances:
        settings: dict[str, Any] = {"audit_interval": 10.0, "buffer": 1000, "fill": False}
        settings |= options
        timeout = settings.pop("timeout", 30.0)
        wanted = check_accounts(accounts)
        return LiveBalances(self.hub, self.exchange, timeout, wanted, **settings)


def make(clock: Clock, *, jitter: Callable[[], float] = lambda: 1.0, **options: Any) -> Setup:
    """Return a hub on a scripted exchange with one usdt in the spot account."""
    exchange = FakeExchange(clock, **options)
    for account in exchange.accounts:
        if account not in (OTC, POINT):
            exchange.move("usdt", "1", account=account.id)
    server_clock = ServerClock(clock)
    origin = Origin("https", "api.huobi.pro", 443)
    hub = StreamHub(origin, clock, server_clock, CredentialStore(KEYS, clock), exchange.open)
    hub.settings = hub.settings._replace(jitter=jitter)
    return Setup(exchange, hub, server_clock)
