"""A server that knows nothing: each path has its prebuilt answer, whatever the query."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from typing import Final

from tests.benchmarks import answers

_PATH: Final = re.compile(rb"GET ([^? ]*)")
_END: Final = b"\r\n\r\n"
_HEAD: Final = (
    "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: application/json;charset=UTF-8\r\n"
    "Content-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
)


class _Answers:
    """The whole answers by path, head and body; the heads are dated once a second."""

    def __init__(self, bodies: Mapping[bytes, bytes]) -> None:
        self._bodies = bodies
        self._built: dict[bytes, bytes] = {}
        self._absent = b""
        self.renew()

    def renew(self) -> None:
        """Date the answers, now and every second from now on."""
        date = formatdate(usegmt=True)
        self._built = {path: _whole("200 OK", date, body) for path, body in self._bodies.items()}
        self._absent = _whole("404 Not Found", date, b"{}")
        asyncio.get_running_loop().call_later(1.0, self.renew)

    def to(self, head: bytes) -> bytes:
        """Return the answer to a request with this head."""
        path = _PATH.match(head)
        return self._built.get(path[1], self._absent) if path else self._absent


def _whole(status: str, date: str, body: bytes) -> bytes:
    return _HEAD.format(status=status, date=date, length=len(body)).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, known: _Answers) -> None:
        self._known = known
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        # A large answer is written at once, and the server reads on meanwhile.
        transport.set_write_buffer_limits(high=2**24)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._read = (self._read + data).split(_END)
        assert self._transport is not None
        for head in heads:
            self._transport.write(self._known.to(head))


def bodies(*, dense: bool = False) -> dict[bytes, bytes]:
    """Return the body of each path: the id of an account says how many rows it has."""
    sizes = (answers.MANY, answers.FEW)
    balances = {
        f"/v1/account/accounts/{rows}/balance".encode(): answers.balance(rows, dense=dense)
        for rows in sizes
    }
    return {
        **balances,
        b"/v1/account/accounts": answers.accounts(),
        b"/v2/point/account": answers.points(),
    }


async def _serve(*, dense: bool) -> None:
    known = _Answers(bodies(dense=dense))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(known), "127.0.0.1", 0, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    # The end of standard input is the end: a parent that dies takes this with it.
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def serving(*, dense: bool = False) -> Iterator[str]:
    """Serve in a process of its own, on another core than ours if there are two: its URL."""
    with _apart() as core:
        command = [sys.executable, "-m", "tests.benchmarks.canned", str(core), *["--dense"] * dense]
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
def _apart() -> Iterator[int]:
    """Keep this process to one core, and return another for the server; -1: there is none."""
    if not hasattr(os, "sched_setaffinity") or len(cores := os.sched_getaffinity(0)) == 1:
        yield -1
        return
    ours, theirs, *_ = sorted(cores)
    os.sched_setaffinity(0, {ours})
    try:
        yield theirs
    finally:
        os.sched_setaffinity(0, cores)


def main(arguments: Sequence[str]) -> None:
    """Serve on the core that the first of *arguments* numbers, until standard input ends."""
    core = int(arguments[0])
    if core >= 0:
        os.sched_setaffinity(0, {core})
    asyncio.run(_serve(dense="--dense" in arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
