"""
Worker processes that share the limits of one user, and a sandbox that counts their requests.

`python -m tests.ratelimit.redis.processes --seconds 20 --round-trip 30` prints the rate, the
number of 429 responses and the share of each process, with 30 ms to Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from types import ModuleType
from unittest.mock import patch

import attrs
from msgspec.structs import replace

from htx_async import Credentials, HTXClient, HTXError, RedisRateLimiter
from htx_async.ratelimit.redis.exchange import MARGIN, MAX_ATTEMPT_TIMEOUT
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.resources import accounts
from htx_async.sandbox import ReceivedRequest, Sandbox, endpoints
from htx_async.sandbox.rate_windows import WindowRule
from tests.redis_process import serving
from tests.tcp_proxy import Proxy

KEYS = Credentials("access-key", "secret-key")
HTXS = accounts.BALANCE.limit
"""The limit of HTX."""
CONCURRENCY = 36
"""Concurrent calls of a process; three processes exceed the limit."""


def lease(limit: RateLimit) -> float:
    """Return the seconds after which the tokens of a dead process are free."""
    return MAX_ATTEMPT_TIMEOUT + MARGIN + limit.per


@contextlib.contextmanager
def limited(resource: ModuleType, limit: RateLimit) -> Iterator[None]:
    """Change the limit of `balance` of *resource*, for the client and for the sandbox."""
    limited_endpoint = replace(resource.BALANCE, limit=limit)
    served = {
        attrs.evolve(endpoint, limit=limit.requests, per=limit.per)
        if endpoint.name == limited_endpoint.name
        else endpoint: handler
        for endpoint, handler in endpoints.ENDPOINTS.items()
    }
    with (
        patch.object(resource, "BALANCE", limited_endpoint),
        patch.object(endpoints, "ENDPOINTS", served),
    ):
        yield


async def work(url: str, base_url: str, account: int) -> None:
    """Request the balance of *account* repeatedly, with concurrent calls, until killed."""
    async with (
        RedisRateLimiter(url, user="the tests") as limiter,
        HTXClient(
            KEYS,
            base_url=base_url,
            rate_limiter=limiter,
            max_connections=CONCURRENCY,
            coalesce=False,
        ) as htx,
    ):

        async def read() -> None:
            while True:
                try:
                    await htx.accounts.balance(account)
                except HTXError as error:
                    sys.stderr.write(f"{error!r}\n")
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(read() for _ in range(CONCURRENCY)))


@attrs.frozen
class Outcome:
    """
    Result of a run.

    Attributes:
        rate: Requests, as a fraction of the limit.
        rate_limited: Number of 429 responses.
        shares: Requests of each process, as a fraction of all.
    """

    rate: float
    rate_limited: int
    shares: tuple[float, ...]


@attrs.define
class WorkerPool:
    """A sandbox and the processes of its clients, each of which requests its own account."""

    url: str
    base_url: str
    sandbox: Sandbox
    limit: RateLimit
    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def add(self) -> None:
        """Start one more process."""
        account = self.sandbox.account_ids[len(self.processes)]
        rule = (self.limit.requests, self.limit.per)
        command = [sys.executable, "-m", "tests.ratelimit.redis.processes", "--work"]
        self.processes.append(
            subprocess.Popen([*command, self.url, self.base_url, *map(str, (account, *rule))])
        )

    def since(self, moment: float) -> list[ReceivedRequest]:
        return [arrival for arrival in self.sandbox.arrivals if arrival.at >= moment]

    def served(self, moment: float) -> list[int]:
        """Return the number of requests of each process since *moment*."""
        counted = Counter(arrival.path for arrival in self.since(moment))
        ids = self.sandbox.account_ids[: len(self.processes)]
        return [counted[f"/v1/account/accounts/{account}/balance"] for account in ids]

    async def all_served(self, moment: float, within: float = 30.0) -> None:
        """Wait until each process has sent a request since *moment*."""
        async with asyncio.timeout(within):
            while not all(self.served(moment)):  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.02)

    async def measure(self, seconds: float) -> Outcome:
        """Measure for *seconds* from now on."""
        start, rate_limited = asyncio.get_running_loop().time(), self.sandbox.rate_limited
        await asyncio.sleep(seconds)
        served = self.served(start)
        return Outcome(
            sum(served) / (self.limit.requests / self.limit.per * seconds),
            self.sandbox.rate_limited - rate_limited,
            tuple(count / max(sum(served), 1) for count in served),
        )

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.asynccontextmanager
async def worker_pool(
    url: str, count: int, limit: RateLimit = HTXS, window: WindowRule = "sliding"
) -> AsyncGenerator[WorkerPool]:
    """Run *count* worker processes."""
    sandbox = Sandbox(accounts=count, window=window)
    with limited(accounts, limit):
        async with sandbox.serve() as base_url:
            pool = WorkerPool(url, base_url, sandbox, limit)
            try:
                for _ in range(count):
                    pool.add()
                yield pool
            finally:
                pool.kill()


async def report(seconds: float, count: int, round_trip: float, windows: list[WindowRule]) -> None:
    """Run *count* processes against each kind of window and print the results."""
    for window in windows:
        with serving() as server:
            server.settle(HTXS.per)
            async with (
                Proxy(server.path, round_trip / 2000).serving() as proxy,
                worker_pool(proxy.url if round_trip else server.url, count, window=window) as pool,
            ):
                await pool.all_served(asyncio.get_running_loop().time())
                outcome = await pool.measure(seconds)
        shares = ", ".join(f"{share:.1%}" for share in outcome.shares)
        sys.stdout.write(
            f"{window}, {round_trip:g} ms to Redis: {count} processes for {seconds:g} s: "
            f"{outcome.rate:.1%} of the rate, {outcome.rate_limited} rate limited, "
            f"shares {shares}\n"
        )


def main(arguments: Sequence[str]) -> None:
    """Run the command-line *arguments*."""
    if arguments[:1] == ["--work"]:
        url, base_url, account, requests, per = arguments[1:]
        with limited(accounts, RateLimit(int(requests), float(per))):
            asyncio.run(work(url, base_url, int(account)))
        return
    parser = argparse.ArgumentParser(
        prog="python -m tests.ratelimit.redis.processes", description=__doc__
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--round-trip", type=float, default=0.0, help="milliseconds to Redis")
    parser.add_argument("--windows", nargs="+", default=["fixed", "sliding"])
    options = parser.parse_args(arguments)
    asyncio.run(report(options.seconds, options.processes, options.round_trip, options.windows))


if __name__ == "__main__":
    main(sys.argv[1:])
