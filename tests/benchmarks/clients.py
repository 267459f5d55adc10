"""Clients that are compared, behind one interface: this package first."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from importlib import import_module
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from htx_async import UNLIMITED, AiohttpTransport, Credentials, HTXClient
from tests.benchmarks import bodies, plain
from tests.benchmarks.bodies import LOOKED_UP
from tests.benchmarks.plain import Holdings

POINTS: Final = "points"
BALANCE: Final = "balance"
BOTH: Final = frozenset({BALANCE, POINTS})

Work: TypeAlias = int | str
"""The number of rows of a balance, or the points."""
Call: TypeAlias = Callable[[], Awaitable[object]]


class Client(ABC):
    """A client as its users hold it: created once, in a running loop, and called many times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._host = urlsplit(url).hostname or ""

    async def balance(self, rows: int) -> Holdings:
        """Read the balance of the account with this number of rows, and look into it."""
        raise NotImplementedError

    async def points(self) -> Decimal:
        """Return the number of points."""
        raise NotImplementedError

    @abstractmethod
    async def aclose(self) -> None: ...

    def call(self, work: Work) -> Call:
        """Return the call that is measured."""
        return (lambda: self.balance(work)) if isinstance(work, int) else self.points

    def _signed(self, path: str) -> str:
        return self._url + plain.signed(self._host, path)


class Ours(Client):
    """htx_async with its default transport, or with *transport*."""

    def __init__(self, url: str, transport: AiohttpTransport | None = None) -> None:
        super().__init__(url)
        self._htx = HTXClient(
            Credentials(plain.ACCESS_KEY, plain.SECRET_KEY),
            base_url=url,
            rate_limiter=UNLIMITED,
            coalesce=False,
            transport=transport,
        )

    async def balance(self, rows: int) -> Holdings:
        balance = await self._htx.accounts.balance(rows)
        totals = tuple(balance[currency].total for currency in LOOKED_UP)
        return Holdings(totals, len(balance.nonzero()))

    async def points(self) -> Decimal:
        return (await self._htx.points.balance()).acct_balance

    async def aclose(self) -> None:
        await self._htx.aclose()


def _over_aiohttp(url: str) -> Client:
    import_module("aiohttp")
    return Ours(url, AiohttpTransport())


class Aiohttp(Client):
    """`aiohttp` and msgspec structs with Decimals."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        aiohttp: Any = import_module("aiohttp")
        self._to: Any = import_module("yarl").URL
        self._session = aiohttp.ClientSession()

    async def balance(self, rows: int) -> Holdings:
        body = await self._get(self._signed(plain.BALANCE.format(rows)))
        return plain.look_up(plain.whole_rows.decode(body).payload().list)

    async def points(self) -> Decimal:
        body = await self._get(self._signed(plain.POINTS))
        return plain.whole_points.decode(body).payload().acct_balance

    async def _get(self, url: str) -> bytes:
        async with self._session.get(self._to(url, encoded=True)) as response:
            response.raise_for_status()
            body: bytes = await response.read()
            return body

    async def aclose(self) -> None:
        await self._session.close()


class Unsigned(Aiohttp):
    """The same without a signature: the cost of a GET of the points."""

    def _signed(self, path: str) -> str:
        return self._url + path


class Ccxt(Client):
    """ccxt's raw calls: dicts of strings; markets and accounts are known, nothing is throttled."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._ccxt = ccxt_at(url)

    async def balance(self, rows: int) -> Holdings:
        call = self._ccxt.spotPrivateGetV1AccountAccountsAccountIdBalance
        response = await call({"account-id": str(rows)})
        return plain.look_up_text(response["data"]["list"])

    async def points(self) -> Decimal:
        response = await self._ccxt.spotPrivateGetV2PointAccount()
        return Decimal(response["data"]["acctBalance"])

    async def aclose(self) -> None:
        await self._ccxt.close()


class CcxtBalance(Ccxt):
    """ccxt's `fetch_balance`: totals as floats."""

    async def balance(self, rows: int) -> Holdings:
        return ccxt_holdings(await self._ccxt.fetch_balance({"account-id": str(rows)}))


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
    rows = json.loads(bodies.balance(bodies.MANY))["data"]["list"]
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
        works: What it can read.
    """

    name: str
    make: Callable[[str], Client]
    does: str
    works: frozenset[str] = BOTH

    def can(self, work: Work) -> bool:
        """Return whether it can do this work."""
        return (BALANCE if isinstance(work, int) else POINTS) in self.works


OURS: Final = Contender("htx_async", Ours, "signs, validates, decodes; with httpx")
OURS_AIOHTTP: Final = Contender(
    "htx_async, aiohttp", _over_aiohttp, "the same with `AiohttpTransport`"
)
CONTENDERS: Final = (
    OURS,
    OURS_AIOHTTP,
    Contender(
        "bare aiohttp", Unsigned, "a GET without a signature, a msgspec struct", frozenset({POINTS})
    ),
    Contender("aiohttp + msgspec", Aiohttp, "signs; structs with Decimals, all six fields"),
    Contender("ccxt, raw", Ccxt, "signs; dicts of strings, balances converted to Decimals"),
    Contender(
        "ccxt, fetch_balance",
        CcxtBalance,
        "signs; floats, by currency, all of them",
        frozenset({BALANCE}),
    ),
)
