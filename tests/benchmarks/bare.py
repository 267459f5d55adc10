"""The least that a client can do: an asyncio protocol that knows just this server's answers."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

from tests.benchmarks import plain
from tests.benchmarks.clients import Client
from tests.benchmarks.plain import Found

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_END: Final = b"\r\n\r\n"


class _Exchange(asyncio.Protocol):
    """A connection that is kept: one request, its answer, the next request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._missing = 0
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def get(self, target: str, host: str) -> bytes:
        """Send a GET and return the body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return await self._answer

    def data_received(self, data: bytes) -> None:
        if not self._parts:  # the head comes in one piece
            head, _, data = data.partition(_END)
            length = _LENGTH.search(head + b"\r\n")
            assert length is not None
            self._missing = int(length[1])
        self._parts.append(data)
        self._missing -= len(data)
        if not self._missing and self._answer is not None:
            body, self._parts = b"".join(self._parts), []
            self._answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class Bare(Client):
    """The limit: signed requests on kept connections, and msgspec structs with Decimals."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._netloc = urlsplit(url).netloc
        self._all: list[_Exchange] = []
        self._idle: list[_Exchange] = []

    async def balance(self, rows: int) -> Found:
        """Read and look."""
        body = await self._get(plain.BALANCE.format(rows))
        return plain.look(plain.whole_rows.decode(body).opened().list)

    async def points(self) -> Decimal:
        """Read."""
        body = await self._get(plain.POINTS)
        return plain.whole_points.decode(body).opened().acct_balance

    async def _get(self, path: str) -> bytes:
        exchange = self._idle.pop() if self._idle else await self._open()
        try:
            return await exchange.get(plain.signed(self._host, path), self._netloc)
        finally:
            self._idle.append(exchange)

    async def _open(self) -> _Exchange:
        port = urlsplit(self._url).port
        loop = asyncio.get_running_loop()
        _, exchange = await loop.create_connection(_Exchange, self._host, port or 80)
        self._all.append(exchange)
        return exchange

    async def aclose(self) -> None:
        """Close the connections."""
        for exchange in self._all:
            exchange.close()
        await asyncio.sleep(0)
