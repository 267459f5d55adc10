"""A server with a prebuilt response for each path, whatever the query."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from tests.benchmarks import bodies, plain

_PATH: Final = re.compile(rb"GET ([^? ]*)")
_END: Final = b"\r\n\r\n"
_HEAD: Final = (
    "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: application/json;charset=UTF-8\r\n"
    "Content-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
)


def responses() -> dict[bytes, bytes]:
    """Return the body of each path."""
    return {
        b"/v1/account/accounts": bodies.accounts(),
        plain.BALANCE.encode(): bodies.balance(),
        plain.POINTS.encode(): bodies.points(),
    }


class _Connection(asyncio.Protocol):
    def __init__(self, known: Mapping[bytes, bytes]) -> None:
        self._known = known
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        # A large response is written at once, and the server reads on meanwhile.
        transport.set_write_buffer_limits(high=2**24)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._read = (self._read + data).split(_END)
        assert self._transport is not None
        for head in heads:
            path = _PATH.match(head)
            body = self._known.get(path[1]) if path else None
            self._transport.write(_response(body, int(time.time())))


@lru_cache(maxsize=16)
def _response(body: bytes | None, date: int) -> bytes:
    """Return a whole response: built once a second, as its head has the date."""
    status, body = ("404 Not Found", b"{}") if body is None else ("200 OK", body)
    head = _HEAD.format(status=status, date=formatdate(date, usegmt=True), length=len(body))
    return head.encode() + body


async def _serve() -> None:
    known, loop = responses(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(known), "127.0.0.1", 0, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    # Standard input ends with the parent, however the parent ends.
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def serving() -> Iterator[str]:
    """Serve from a process of its own, on another core if there are two, and yield its URL."""
    with _one_core() as core:
        command = [sys.executable, "-m", "tests.benchmarks.canned", str(core)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield f"http://127.0.0.1:{int(process.stdout.readline())}"
            finally:
                process.stdin.close()


@contextmanager
def _one_core() -> Iterator[int]:
    """Keep this process to one core, and yield another for the server; -1: there is none."""
    if not hasattr(os, "sched_setaffinity") or len(cores := os.sched_getaffinity(0)) == 1:
        yield -1
        return
    own, other, *_ = sorted(cores)
    os.sched_setaffinity(0, {own})
    try:
        yield other
    finally:
        os.sched_setaffinity(0, cores)


def main(arguments: Sequence[str]) -> None:
    """Serve on the core that the first of *arguments* numbers, until standard input ends."""
    core = int(arguments[0])
    if core >= 0:
        os.sched_setaffinity(0, {core})
    asyncio.run(_serve())


if __name__ == "__main__":
    main(sys.argv[1:])
