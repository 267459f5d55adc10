"""
Many HTX users in one process, or in several that share one Redis.

Each user has one client. All clients of a process share one `HTTPTransport`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from htx_async import Credentials, HTTPTransport, HTXClient, RedisRateLimiter
from tests.benchmarks import canned
from tests.benchmarks.tables import Goal, Options, machine, table
from tests.benchmarks.timing import MICRO
from tests.redis_process import RedisProcess, serving

USERS: Final = 10_000
PROCESSES: Final = 4
_CALLS: Final = 10_000
_CALLS_OF_ONE: Final = 400
_CONCURRENCY: Final = 20
_PAGE: Final = 4096
_STATM: Final = Path("/proc/self/statm")
_LEGEND: Final = """\
CPU: of the process, in microseconds. Memory: resident, in kilobytes a user.
"""


class Figures(msgspec.Struct):
    """
    Figures of one process.

    Attributes:
        create: CPU for creating a client, in µs.
        close: CPU for closing it, in µs.
        idle: Memory of a client that has not been used, in kB.
        active: Memory of a client after its first call, in kB.
        call_of_one: CPU for a call of the only user, in µs.
        call: CPU for a call of a random user, in µs.
        calls_per_second: Calls per second, of all users.
    """

    create: float
    close: float
    idle: float
    active: float
    call_of_one: float
    call: float
    calls_per_second: float


def _resident() -> float:
    """Return the resident memory in kilobytes."""
    gc.collect()
    return int(_STATM.read_text().split()[1]) * _PAGE / 1000


async def _call(clients: list[HTXClient], calls: int) -> None:
    """Let clients, in random order, read the list of accounts."""
    chosen = iter(random.choices(clients, k=calls))  # noqa: S311 - no secret

    async def worker() -> None:
        for client in chosen:
            await client.accounts.list()

    await asyncio.gather(*(worker() for _ in range(_CONCURRENCY)))


async def _measure(base_url: str, users: int, calls: int, redis_url: str) -> Figures:
    transport = HTTPTransport()
    limiter = RedisRateLimiter(redis_url) if redis_url else None
    shared: dict[str, Any] = {"base_url": base_url, "transport": transport, "timeout": 60.0}
    shared["coalesce"] = False

    def client(name: str) -> HTXClient:
        keys = Credentials(f"{name}-key", f"{name}-secret")
        return HTXClient(keys, rate_limiter=limiter, **shared)

    one = client("only")
    await _call([one], 10)
    start = time.process_time()
    await _call([one], _CALLS_OF_ONE)
    call_of_one = (time.process_time() - start) / _CALLS_OF_ONE

    before, start = _resident(), time.process_time()
    clients = [client(f"user{number}") for number in range(users)]
    create = (time.process_time() - start) / users
    idle = (_resident() - before) / users
    for position in range(0, users, 100):
        await asyncio.gather(*(user.accounts.list() for user in clients[position:][:100]))
    active = (_resident() - before) / users
    start, began = time.process_time(), time.perf_counter()
    await _call(clients, calls)
    call, seconds = (time.process_time() - start) / calls, time.perf_counter() - began
    start = time.process_time()
    for user in clients:
        await user.aclose()
    close = (time.process_time() - start) / users
    await one.aclose()
    await transport.aclose()
    times = (create * MICRO, close * MICRO, idle, active, call_of_one * MICRO, call * MICRO)
    return Figures(*times, calls / seconds)


def _average(figures: list[Figures]) -> Figures:
    columns = zip(*map(msgspec.structs.astuple, figures), strict=True)
    average = Figures(*(sum(column) / len(figures) for column in columns))
    average.calls_per_second *= len(figures)
    return average


def _processes(base_url: str, users: int, calls: int, redis_url: str) -> Figures:
    """Measure processes that run at the same time."""
    command = [sys.executable, "-m", __name__, base_url, str(users), str(calls), redis_url]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(PROCESSES)]
    outputs = [process.communicate()[0] for process in started]
    return _average([msgspec.json.decode(output, type=Figures) for output in outputs])


def _row(name: str, figures: Figures) -> tuple[str, ...]:
    return (name, *(f"{value:.3g}" for value in msgspec.structs.astuple(figures)))


def _redis_rows(server: RedisProcess, exchanges: int, seconds: float) -> list[tuple[str, str]]:
    with server.client() as redis:
        keys, memory = redis.dbsize(), redis.info("memory")["used_memory_dataset"]
        stats = redis.info("commandstats")["cmdstat_evalsha"]
    calls = stats["calls"] - exchanges
    return [
        ("keys", f"{keys}"),
        ("bytes a key", f"{memory / keys:.0f}"),
        ("exchanges", f"{calls}"),
        ("exchanges a second", f"{calls / seconds:.0f}"),
        ("µs an exchange", f"{stats['usec_per_call']:.1f}"),
    ]


def run(options: Options) -> list[Goal]:
    """Measure, and print the tables."""
    users, calls = (200, 400) if options.quick else (USERS, _CALLS)
    head = ("", "create", "close", "idle kB", "active kB", "call of one", "call", "calls/s")
    with canned.serving() as base_url, serving() as server:
        rows = [_row("1 process", asyncio.run(_measure(base_url, users, calls, "")))]
        rows += [
            _row("1 process, Redis", asyncio.run(_measure(base_url, users, calls, server.url)))
        ]
        began = time.perf_counter()
        share = users // PROCESSES
        processes = _processes(base_url, share, calls // PROCESSES, server.url)
        rows += [_row(f"{PROCESSES} processes, Redis", processes)]
        redis = _redis_rows(server, 0, time.perf_counter() - began)
    title = f"{machine(['redis'])}{users} users.\n\n{_LEGEND}\n"
    sys.stdout.write(f"{title}{table(head, rows)}\n{table(('Redis', ''), redis)}\n")
    return []


def main(arguments: list[str]) -> None:
    """Print the figures of one process as JSON."""
    base_url, users, calls, redis_url = arguments
    figures = asyncio.run(_measure(base_url, int(users), int(calls), redis_url))
    sys.stdout.write(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
