"""The other clients, each as its users write it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from decimal import Decimal
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from tests.benchmarks import answers, plain
from tests.benchmarks.bare import Bare
from tests.benchmarks.clients import BALANCE, OURS, OURS_AIOHTTP, POINTS, Client, Contender
from tests.benchmarks.plain import Found


class HttpxCattrs(Client):
    """`httpx.AsyncClient`, `json`, and attrs classes with Decimals by a plain cattrs converter."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._http = httpx.AsyncClient(trust_env=False)

    async def balance(self, rows: int) -> Found:
        """Read and look."""
        data = await self._data(plain.BALANCE.format(rows))
        return plain.look(plain.converter.structure(data, plain.AttrsBalance).list)

    async def points(self) -> Decimal:
        """Read."""
        return Decimal((await self._data(plain.POINTS))["acctBalance"])

    async def _data(self, path: str) -> Any:
        answer = (await self._http.get(self._signed(path))).json()
        if answer.get("status") != "ok" and answer.get("code") != 200:
            raise ValueError
        return answer["data"]

    async def aclose(self) -> None:
        """Close it."""
        await self._http.aclose()


class Aiohttp(Client):
    """`aiohttp` and msgspec structs with Decimals, of *rows* of one kind."""

    def __init__(self, url: str, rows: msgspec.json.Decoder[Any] = plain.whole_rows) -> None:
        super().__init__(url)
        aiohttp: Any = import_module("aiohttp")
        self._to: Any = import_module("yarl").URL
        self._session = aiohttp.ClientSession()
        self._rows = rows

    async def balance(self, rows: int) -> Found:
        """Read and look."""
        body = await self._get(self._signed(plain.BALANCE.format(rows)))
        return plain.look(self._rows.decode(body).opened().list)

    async def points(self) -> Decimal:
        """Read."""
        body = await self._get(self._signed(plain.POINTS))
        return plain.whole_points.decode(body).opened().acct_balance

    async def _get(self, url: str) -> bytes:
        async with self._session.get(self._to(url, encoded=True)) as answer:
            answer.raise_for_status()
            body: bytes = await answer.read()
            return body

    async def aclose(self) -> None:
        """Close it."""
        await self._session.close()


class Unsigned(Aiohttp):
    """The same without a signature: what a GET of the points costs."""

    def _signed(self, path: str) -> str:
        return self._url + path


def _short(url: str) -> Client:
    return Aiohttp(url, plain.short_rows)


class Ccxt(Client):
    """ccxt's raw calls: dicts of strings. Markets and accounts are known, nothing is throttled."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._ccxt = ccxt_at(url)

    async def balance(self, rows: int) -> Found:
        """Read and look, with Decimals made of the balances."""
        call = self._ccxt.spotPrivateGetV1AccountAccountsAccountIdBalance
        answer = await call({"account-id": str(rows)})
        return plain.look_at_text(answer["data"]["list"])

    async def points(self) -> Decimal:
        """Read."""
        answer = await self._ccxt.spotPrivateGetV2PointAccount()
        return Decimal(answer["data"]["acctBalance"])

    async def aclose(self) -> None:
        """Close it."""
        await self._ccxt.close()


class CcxtBalance(Ccxt):
    """ccxt's `fetch_balance`: totals as floats."""

    async def balance(self, rows: int) -> Found:
        """Read and look."""
        return found(await self._ccxt.fetch_balance({"account-id": str(rows)}))


def found(balance: Mapping[str, Any]) -> Found:
    """Look into what `fetch_balance` returns."""
    totals = tuple(Decimal(str(balance[name.upper()]["total"])) for name in answers.LOOKED_UP)
    return Found(totals, sum(1 for total in balance["total"].values() if total))


def ccxt_at(url: str) -> Any:
    """Return ccxt's client for the server at *url*, which needs no other request first."""
    module: Any = import_module("ccxt.async_support")
    made = module.htx(
        {"apiKey": plain.ACCESS_KEY, "secret": plain.SECRET_KEY, "enableRateLimit": False}
    )
    made.urls["hostnames"]["spot"] = urlsplit(url).netloc
    made.urls["api"]["spot"] = "http://{hostname}"
    made.markets, made.markets_by_id, made.symbols = {}, {}, []
    listed = json.loads(answers.balance(answers.MANY))["data"]["list"]
    known = {
        row["currency"]: {"id": row["currency"], "code": row["currency"].upper()} for row in listed
    }
    made.currencies_by_id = known
    made.currencies = {currency["code"]: currency for currency in known.values()}
    account = json.loads(answers.accounts())["data"][0]
    made.accounts = [made.parse_account(account)]
    made.accountsById = {made.accounts[0]["id"]: made.accounts[0]}
    return made


def _loads(text: str, encoding: str) -> Any:
    del encoding
    return json.loads(text)


class Official(Client):
    """The official client, from its copy in the index: it blocks, its models hold text."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        # `requests` looks for proxies; this server is on loopback.
        os.environ.setdefault("NO_PROXY", "127.0.0.1")
        module: Any = import_module("huobi.client.account")
        invoker: Any = import_module("huobi.connection.impl.restapi_invoker")
        # It passes `encoding`, which `json.loads` takes no more since Python 3.9.
        invoker.json = SimpleNamespace(loads=_loads)
        self._client = module.AccountClient(
            api_key=plain.ACCESS_KEY, secret_key=plain.SECRET_KEY, url=url
        )

    async def balance(self, rows: int) -> Found:
        """Read, and look into objects with strings."""
        return plain.look_at_text([vars(row) for row in self._client.get_balance(rows)])

    async def aclose(self) -> None:
        """It has nothing to close: its session is the process's."""


RIVALS: Final[tuple[Contender, ...]] = (
    Contender("bare protocol", Bare, "signs; `asyncio.Protocol`, msgspec structs with Decimals"),
    Contender(
        "bare aiohttp",
        Unsigned,
        "a GET without a signature, a msgspec struct",
        "aiohttp",
        frozenset({POINTS}),
    ),
    Contender(
        "aiohttp + msgspec", Aiohttp, "signs; structs with Decimals, all six fields", "aiohttp"
    ),
    Contender(
        "aiohttp + msgspec, 3 fields",
        _short,
        "signs; structs of currency, type and balance only",
        "aiohttp",
        frozenset({BALANCE}),
    ),
    Contender(
        "httpx + cattrs", HttpxCattrs, "signs; `json`, attrs classes with Decimals", "cattrs"
    ),
    Contender("ccxt, raw", Ccxt, "signs; dicts of strings, Decimals of the balances made", "ccxt"),
    Contender(
        "ccxt, fetch_balance",
        CcxtBalance,
        "signs; floats, by currency, all of them",
        "ccxt",
        frozenset({BALANCE}),
    ),
    Contender(
        "official client",
        Official,
        "signs; blocks its thread, so one at a time; objects with strings",
        "huobi-sdk",
        frozenset({BALANCE}),  # it cannot read points that are in groups
        is_async=False,
    ),
)

CONTENDERS: Final = (OURS, OURS_AIOHTTP, *RIVALS)


def named(name: str) -> Contender:
    """Return the contender of this name."""
    return next(contender for contender in CONTENDERS if contender.name == name)
