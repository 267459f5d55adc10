"""Clients that are compared, behind one interface: this package first."""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from importlib import import_module
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import attrs
import httpx

from htx_async import UNLIMITED, Credentials, HTXClient
from tests.benchmarks import bodies, plain
from tests.benchmarks.bodies import LOOKED_UP, ROWS
from tests.benchmarks.plain import Holdings
from tests.benchmarks.timing import Sample, Stopwatch, freeze_garbage

POINTS: Final = "points"
BALANCE: Final = "balance"
WORKS: Final = (BALANCE, POINTS)

Call: TypeAlias = Callable[[], Awaitable[object]]

_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_OPTIONS: Final[tuple[dict[str, Any], ...]] = (
    {"rate_limiter": UNLIMITED, "coalesce": False},
    {"budget": UNLIMITED, "share": False},
)
"""No rate limits and no coalescing: the names of the options, and those of older checkouts."""


class Client(ABC):
    """A client as its users hold it: created once, in a running loop, and called many times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._host = urlsplit(url).hostname or ""

    async def balance(self) -> Holdings:
        """Read a balance of 3,000 rows, and look into it."""
        raise NotImplementedError

    async def points(self) -> Decimal:
        """Return the number of points."""
        raise NotImplementedError

    @abstractmethod
    async def aclose(self) -> None: ...

    async def batch(self, work: str, in_flight: int, calls: int) -> Sample:
        """Measure *calls* calls of each of *in_flight* workers."""
        call: Call = getattr(self, work)
        await asyncio.gather(*(call() for _ in range(in_flight)))  # connects, and warms up

        async def worker() -> None:
            for _ in range(calls):
                await call()

        freeze_garbage()
        watch = Stopwatch()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        return watch.sample(calls * in_flight)


class Ours(Client):
    """htx_async with its default transport, of this checkout or of an older one."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        credentials, (options, older) = Credentials(plain.ACCESS_KEY, plain.SECRET_KEY), _OPTIONS
        try:
            self._htx = HTXClient(credentials, base_url=url, **options)
        except TypeError:
            self._htx = HTXClient(credentials, base_url=url, **older)

    async def balance(self) -> Holdings:
        balance = await self._htx.accounts.balance(ROWS)
        totals = tuple(balance[currency].total for currency in LOOKED_UP)
        return Holdings(totals, len(balance.nonzero()))

    async def points(self) -> Decimal:
        return (await self._htx.points.balance()).acct_balance

    async def aclose(self) -> None:
        await self._htx.aclose()


class Plain(Client):
    """A client of an HTTP library, a signature, and msgspec structs with Decimals."""

    async def balance(self) -> Holdings:
        return plain.look_up(plain.whole_rows.decode(await self._get(plain.BALANCE)).payload().list)

    async def points(self) -> Decimal:
        return plain.whole_points.decode(await self._get(plain.POINTS)).payload().acct_balance

    async def _get(self, path: str) -> bytes:
        """Return the body of the response to a signed request."""
        raise NotImplementedError


class Aiohttp(Plain):
    """`aiohttp`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        aiohttp: Any = import_module("aiohttp")
        self._to: Any = import_module("yarl").URL
        self._session = aiohttp.ClientSession()

    async def _get(self, path: str) -> bytes:
        url = self._to(self._url + plain.signed(self._host, path), encoded=True)
        async with self._session.get(url) as response:
            response.raise_for_status()
            body: bytes = await response.read()
            return body

    async def aclose(self) -> None:
        await self._session.close()


class Httpx(Plain):
    """`httpx.AsyncClient` with its own transport."""

    transport: Callable[[], httpx.AsyncBaseTransport] = httpx.AsyncHTTPTransport

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._client = httpx.AsyncClient(transport=self.transport())

    async def _get(self, path: str) -> bytes:
        response = await self._client.get(self._url + plain.signed(self._host, path))
        return response.raise_for_status().content

    async def aclose(self) -> None:
        await self._client.aclose()


class HttpxWithOurs(Httpx):
    """The same with the transport of this package."""

    def __init__(self, url: str) -> None:
        # Older checkouts, which import this module, do not have it.
        self.transport = import_module("htx_async").HTTPTransport
        super().__init__(url)


class _Connection(asyncio.Protocol):
    """Carries one request at a time, and reads no more HTTP than the canned server writes."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    async def get(self, request: bytes) -> bytes:
        """Send *request*, and return the body of the response."""
        self._parts, self._missing = list[bytes](), 0
        self._body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._body

    def data_received(self, data: bytes) -> None:
        if not self._parts:
            head, _, data = data.partition(_END)
            length = _LENGTH.search(head)
            assert length is not None
            assert head.startswith(b"HTTP/1.1 200 ")
            self._missing = int(length[1])
        self._parts.append(data)
        self._missing -= len(data)
        if not self._missing:
            self._body.set_result(b"".join(self._parts))


class Bare(Plain):
    """`asyncio.Protocol` without anything else: no timeouts, no errors, any number at a time."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._port = urlsplit(url).port or 80
        self._all: list[_Connection] = []
        self._idle: list[_Connection] = []

    async def _get(self, path: str) -> bytes:
        if not self._idle:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
            self._all.append(connection)
            self._idle.append(connection)
        connection = self._idle.pop()
        request = f"GET {plain.signed(self._host, path)} HTTP/1.1\r\nHost: {self._host}\r\n\r\n"
        body = await connection.get(request.encode())
        self._idle.append(connection)
        return body

    async def aclose(self) -> None:
        for connection in self._all:
            connection.transport.close()


class Ccxt(Client):
    """ccxt's raw calls: dicts of strings; markets and accounts are known, nothing is throttled."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._ccxt = ccxt_at(url)

    async def balance(self) -> Holdings:
        call = self._ccxt.spotPrivateGetV1AccountAccountsAccountIdBalance
        response = await call({"account-id": str(ROWS)})
        return plain.look_up_text(response["data"]["list"])

    async def points(self) -> Decimal:
        response = await self._ccxt.spotPrivateGetV2PointAccount()
        return Decimal(response["data"]["acctBalance"])

    async def aclose(self) -> None:
        await self._ccxt.close()


class CcxtBalance(Ccxt):
    """ccxt's `fetch_balance`: totals as floats."""

    async def balance(self) -> Holdings:
        return ccxt_holdings(await self._ccxt.fetch_balance({"account-id": str(ROWS)}))


def ccxt_holdings(balance: Mapping[str, Any]) -> Holdings:
    """Look into what `fetch_balance` returns."""
    totals = tuple(Decimal(str(balance[name.upper()]["total"])) for name in LOOKED_UP)
    return Holdings(totals, sum(1 for total in balance["total"].values() if total))


def ccxt_at(url: str) -> Any:
    """Return ccxt's client for the server at *url*, which needs no other request first."""
    module: Any = import_module("ccxt.async_support")
    keys = {"apiKey": plain.ACCESS_KEY, "secret": plain.SECRET_KEY}
    exchange = module.htx({**keys, "enableRateLimit": False})
    exchange.urls["hostnames"]["spot"] = urlsplit(url).netloc
    exchange.urls["api"]["spot"] = "http://{hostname}"
    exchange.markets, exchange.markets_by_id, exchange.symbols = {}, {}, []
    rows = json.loads(bodies.balance())["data"]["list"]
    exchange.currencies_by_id = {
        row["currency"]: {"id": row["currency"], "code": row["currency"].upper()} for row in rows
    }
    exchange.currencies = {one["code"]: one for one in exchange.currencies_by_id.values()}
    account = exchange.parse_account(json.loads(bodies.accounts())["data"][0])
    exchange.accounts, exchange.accountsById = [account], {account["id"]: account}
    return exchange


@attrs.frozen
class Contender:
    """
    A client that takes part.

    Attributes:
        name: Its name in the tables.
        make: Creates one for the URL of a server, or raises `ImportError`.
        does: What a call of it does.
        works: What it reads.
    """

    name: str
    make: Callable[[str], Client]
    does: str
    works: tuple[str, ...] = WORKS


OURS: Final = Contender("htx_async", Ours, "signs, validates, decodes")
AIOHTTP: Final = Contender("aiohttp + msgspec", Aiohttp, "signs; structs with Decimals")
CCXT_BALANCE: Final = Contender(
    "ccxt, fetch_balance", CcxtBalance, "signs; floats of all currencies", (BALANCE,)
)
HTTPX: Final = Contender("httpx + msgspec", Httpx, "the same with httpx", (POINTS,))
HTTPX_OURS: Final = Contender(
    "httpx, HTTPTransport",
    HttpxWithOurs,
    "the same with httpx and the transport of htx_async",
    (POINTS,),
)
CONTENDERS: Final = (
    OURS,
    Contender("asyncio.Protocol", Bare, "signs; structs with Decimals; not a whole HTTP client"),
    AIOHTTP,
    Contender("ccxt, raw", Ccxt, "signs; dicts of strings, balances converted to Decimals"),
    CCXT_BALANCE,
    HTTPX_OURS,
    HTTPX,
)
