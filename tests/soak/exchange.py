"""The exchange of the soak: a sandbox in another process, over plain http and over TLS."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import attrs
import trustme

from htx_async.sandbox import Fault, Sandbox, faults
from htx_async.sandbox.connection import ConnectionFault, FaultyConnection

LIMITS = 50
"""Factor by which HTX's limits are raised, for the client and the sandbox alike."""
ACCOUNTS = 40
CHANCE = 0.15
"""The share of requests with a fault."""

_NUMBER = re.compile(rb'("(?:seq-num|accountId)":")\d+')
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


@attrs.frozen
class Surplus(ConnectionFault):
    """The response is sent twice at once: the next request must not get the second one."""

    async def play(self, connection: FaultyConnection, response: bytes, /) -> None:
        connection.send(response * 2)


RESPONSES: tuple[Fault, ...] = (
    *faults.CATALOGUE.values(),
    faults.html(502),
    faults.html(200),
    faults.too_many(),
    faults.too_many(headers=False),
    faults.too_many(retry_after=0.05),
    faults.maintenance(),
    faults.redirect(),
    faults.field("data", None),
    faults.field("data", faults.MISSING),
    faults.field("data", "nonsense"),
)
CONNECTIONS: tuple[Fault, ...] = (
    faults.hang("head"),
    faults.hang("body"),
    faults.cut(),
    faults.reset(),
    faults.trickle(0.001),
    faults.wrong_length(),
    faults.gzip_garbage(),
    faults.answer_and_close(),
    Surplus(),
)


@attrs.frozen
class Counts:
    """Requests that reached the exchange, and those above a limit."""

    requests: int
    rate_limited: int


class NumberingSandbox(Sandbox):
    """
    Sandbox that numbers its responses, so that a client can recognise an older one.

    The number is the `seq-num` of all rows of a balance, and the `accountId` of points.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._numbers = count(1)
        self._respond = self._http.respond
        self._http.respond = self._numbered  # type: ignore[assignment]

    async def _numbered(self, *arguments: Any) -> Any:
        response = await self._respond(*arguments)
        body = _NUMBER.sub(rb"\g<1>%d" % next(self._numbers), response.body)
        return attrs.evolve(response, body=body)


@contextmanager
def exchange(seed: int) -> Iterator[tuple[list[str], Connection]]:
    """
    Run the exchange; yield its URLs and a line to it: send anything, receive `Counts`.

    Its certificate is trusted by SSL_CERT_FILE, which is set for this process.
    """
    context = get_context("spawn")
    own, other = context.Pipe()
    with TemporaryDirectory() as directory:
        authority, certificate = trustme.CA(), Path(directory, "server.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        os.environ["SSL_CERT_FILE"] = str(Path(directory, "ca.pem"))
        authority.cert_pem.write_to_path(os.environ["SSL_CERT_FILE"])
        process = context.Process(target=_run, args=(other, seed, certificate), daemon=True)
        process.start()
        try:
            yield own.recv(), own
        finally:
            process.terminate()
            process.join()


def _run(line: Connection, seed: int, certificate: Path) -> None:
    asyncio.run(_serve(line, seed, certificate))


async def _serve(line: Connection, seed: int, certificate: Path) -> None:
    sandbox = NumberingSandbox(accounts=ACCOUNTS, limits=LIMITS)
    async with sandbox.serve() as plain_url, _tls_relay(plain_url, certificate) as tls_url:
        line.send([plain_url, tls_url])
        await _message(line)  # the client has learned the results: faults may begin
        sandbox.faults.randomly(CHANCE, RESPONSES + CONNECTIONS, seed=seed)
        await _message(line)
        line.send(Counts(sandbox.requests, sandbox.rate_limited))
        await _message(line)


@asynccontextmanager
async def _tls_relay(url: str, certificate: Path) -> AsyncIterator[str]:
    """Accept TLS connections, and forward bytes, FIN and RST from and to *url*; yield its URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    host, port = urlsplit(url).hostname, urlsplit(url).port

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, port)
        pumps = (_pump(reader, inner_writer), _pump(inner_reader, writer))
        tasks = [asyncio.create_task(pump) for pump in pumps]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        end = _reset if any(isinstance(result, OSError) for result in results) else _close
        end(writer)
        end(inner_writer)

    async with await asyncio.start_server(relay, host, ssl=context, backlog=2048) as server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward until the end of the stream; raise if the connection is reset."""
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with suppress(OSError):  # it is closed already
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


async def _message(line: Connection) -> None:
    """Wait for a message without blocking the loop."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(line.fileno(), readable.set)
    while not line.poll():
        readable.clear()
        await readable.wait()
    loop.remove_reader(line.fileno())
    line.recv()
