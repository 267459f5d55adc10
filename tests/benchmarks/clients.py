"""One interface for all clients, ours behind it, and who takes part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from decimal import Decimal
from importlib import import_module
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from htx_async import UNLIMITED, AiohttpTransport, Credentials, HTXClient
from tests.benchmarks import plain
from tests.benchmarks.answers import LOOKED_UP
from tests.benchmarks.plain import Found

POINTS: Final = "points"
BALANCE: Final = "balance"
BOTH: Final = frozenset({BALANCE, POINTS})

Call: TypeAlias = Callable[[], Awaitable[object]]


class Client(ABC):
    """A client as its users hold it: made once, in a running loop, and asked again and again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._host = urlsplit(url).hostname or ""

    async def balance(self, rows: int) -> Found:
        """Read the balance of the account with so many rows, and look into it."""
        raise NotImplementedError

    async def points(self) -> Decimal:
        """Read the points, and return how many there are."""
        raise NotImplementedError

    @abstractmethod
    async def aclose(self) -> None:
        """Close it."""

    def _signed(self, path: str) -> str:
        return self._url + plain.signed(self._host, path)


@attrs.frozen
class Contender:
    """
    A client that can be made.

    Attributes:
        name: As the tables call it.
        make: Makes one for the URL of a server, or raises `ImportError`.
        does: What it does, for the page.
        package: The distribution that it comes with.
        works: What it can be asked for.
        is_async: Whether it can have more than one request in flight.
    """

    name: str
    make: Callable[[str], Client]
    does: str
    package: str | None = None
    works: frozenset[str] = BOTH
    is_async: bool = True


class Ours(Client):
    """htx_async, over httpx or over *transport*."""

    def __init__(self, url: str, transport: AiohttpTransport | None = None) -> None:
        super().__init__(url)
        self._htx = HTXClient(
            Credentials(plain.ACCESS_KEY, plain.SECRET_KEY),
            base_url=url,
            rate_limiter=UNLIMITED,
            coalesce=False,
            transport=transport,
        )

    async def balance(self, rows: int) -> Found:
        """Read, look up, `nonzero()`."""
        balance = await self._htx.accounts.balance(rows)
        totals = tuple(balance[currency].total for currency in LOOKED_UP)
        return Found(totals, len(balance.nonzero()))

    async def points(self) -> Decimal:
        """Read."""
        return (await self._htx.points.balance()).acct_balance

    async def aclose(self) -> None:
        """Close it."""
        await self._htx.aclose()


def _over_aiohttp(url: str) -> Client:
    import_module("aiohttp")
    return Ours(url, AiohttpTransport())


OURS: Final = Contender("htx_async", Ours, "signs, checks, converts; over httpx")
OURS_AIOHTTP: Final = Contender(
    "htx_async, aiohttp", _over_aiohttp, "the same over `AiohttpTransport`", "aiohttp"
)


def call_of(client: Client, work: int | str) -> Call:
    """Return the call that is measured: of a balance with *work* rows, or of the points."""
    if isinstance(work, int):
        return lambda: client.balance(work)
    return client.points
