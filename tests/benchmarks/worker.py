"""
Worker of `--against`: measures the htx_async that it imports, which may be an older one.

It reads one job a line as JSON, and writes the microseconds of CPU of a call; with `--first`, it
makes one call and ends. It uses names that both versions have, and no other module of the tests.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module, metadata
from typing import Any

import httpx

from htx_async import UNLIMITED, Credentials, HTXClient

ROWS = 3000
_CREDENTIALS = Credentials("bench-marks-access-key", "bench-marks-secret-key")
_UNLIMITED: tuple[Any, Any] = (
    {"rate_limiter": UNLIMITED, "coalesce": False},
    {"budget": UNLIMITED, "share": False},
)
"""The options by their names, and by those before the second edition of the contract."""
_PACKAGES = ("httpx", "httpcore", "msgspec", "cattrs", "attrs")


def client(base_url: str, transport: Any = None) -> HTXClient:
    """Return a client without rate limits and coalescing."""
    new, old = ({"base_url": base_url, "transport": transport, **names} for names in _UNLIMITED)
    try:
        return HTXClient(_CREDENTIALS, **new)
    except TypeError:
        return HTXClient(_CREDENTIALS, **old)


def offline(bodies: dict[str, bytes]) -> Any:
    """Return a transport that returns these bodies by path, without a network."""

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=bodies[request.url.path])

    return httpx.MockTransport(respond)


def calls(htx: HTXClient, suffix: str = "") -> dict[str, Callable[[], Awaitable[object]]]:
    """Return the calls by name."""

    async def rows_read() -> None:
        for entry in (await htx.accounts.balance(ROWS)).entries:
            _, _, _ = entry.currency, entry.type, entry.balance

    return {
        f"points{suffix}": htx.points.balance,
        f"rows{suffix}": lambda: htx.accounts.balance(ROWS),
        f"rows read{suffix}": rows_read,
    }


def signature() -> Callable[[], object]:
    """Return a function that signs one request."""
    try:
        sign = import_module("htx_async.middleware.signing").sign_request
        requests = import_module("htx_async.request")
    except ImportError:  # before the redesign
        sign = import_module("htx_async.transport.signing").sign
        requests = import_module("htx_async.transport.request")
    endpoint = import_module("htx_async.resources.points").BALANCE
    request = requests.Request(endpoint, endpoint.path)
    return lambda: sign(request, _CREDENTIALS, "api.huobi.pro", time.time())


async def cpu(call: Callable[[], Awaitable[object]], in_flight: int, count: int) -> float:
    """Return the microseconds of CPU of a call; each of *in_flight* workers makes *count*."""

    async def work() -> None:
        for _ in range(count):
            await call()

    await asyncio.gather(*(call() for _ in range(in_flight)))  # connects, and warms up
    gc.collect()
    gc.freeze()
    before = time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return (time.process_time() - before) / (in_flight * count) * 1e6


def main(arguments: Sequence[str]) -> None:
    """Measure until standard input ends; or make one call."""
    url, *first = arguments
    with asyncio.Runner() as runner:
        if first:
            runner.run(_first(url))
            return
        versions = {name: metadata.version(name) for name in _PACKAGES}
        setup = json.loads(sys.stdin.readline())
        bodies = {path: body.encode() for path, body in setup.items()}
        sys.stdout.write(json.dumps({"python": sys.version, **versions}) + "\n")
        sys.stdout.flush()
        sign = signature()

        async def signed() -> None:
            sign()

        known = {**calls(client(url)), **calls(client(url, offline(bodies)), ", offline")}
        known["sign"] = signed
        for line in sys.stdin:
            work, in_flight, count = json.loads(line)
            sys.stdout.write(f"{runner.run(cpu(known[work], in_flight, count))}\n")
            sys.stdout.flush()


async def _first(url: str) -> None:
    async with client(url) as htx:
        await htx.points.balance()


if __name__ == "__main__":
    main(sys.argv[1:])
