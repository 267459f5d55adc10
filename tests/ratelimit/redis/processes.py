"""
Worker processes that share the limits of one user, and a sandbox that counts their requests.

`python -m tests.ratelimit.redis.processes --seconds 20` prints the rate, the number of 429
responses and the share of each process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from types import ModuleType
from unittest.mock import patch

import attrs
from msgspec.structs import replace

from htx_async import Credentials, HTXClient, HTXError, RedisRateLimiter, Share
from htx_async.ratelimit.redis.protocol import GRANT_TTL
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.resources import accounts
from htx_async.sandbox import ReceivedRequest, Sandbox, endpoints
from htx_async.sandbox.rate_windows import WindowRule
from tests.redis_process import serving

KEYS = Credentials("access-key", "secret-key")
WINDOWS: tuple[WindowRule, ...] = ("fixed", "sliding", "bucket")
USER = "the tests"


@attrs.frozen
class Load:
    """
    Work of each process.

    Attributes:
        limit: The limit that the sandbox enforces and the clients keep, over all processes.
        concurrency: Number of concurrent calls; all processes together exceed the limit.
        timeout: Timeout of a call. It is longer than a caller waits: on a busy machine, HTX may
            count a request that was cut off later.
    """

    limit: RateLimit
    concurrency: int
    timeout: float

    @property
    def lease(self) -> float:
        """Seconds after which the tokens of a dead process are free."""
        return self.timeout + GRANT_TTL + self.limit.per

    @property
    def arguments(self) -> list[str]:
        """Command-line arguments of a process."""
        return list(map(str, (*attrs.astuple(self.limit), self.concurrency, self.timeout)))

    @classmethod
    def of(cls, limit: str, per: str, concurrency: str, timeout: str) -> Load:
        """Return the load that the command-line arguments describe."""
        return cls(RateLimit(int(limit), float(per)), int(concurrency), float(timeout))


HTXS = Load(accounts.BALANCE.limit, concurrency=36, timeout=3.5)
"""The limit of HTX."""
BRIEF = Load(RateLimit(20, per=0.25), concurrency=8, timeout=1.2)
"""A limit with several windows per second."""


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


async def work(url: str, base_url: str, account: int, fraction: float | None, load: Load) -> None:
    """Request the balance of *account* repeatedly, with concurrent calls, until killed."""
    on_outage = Share(fraction) if fraction else None
    async with (
        RedisRateLimiter(url, user=USER, on_outage=on_outage) as limiter,
        HTXClient(
            KEYS, base_url=base_url, rate_limiter=limiter, timeout=load.timeout, coalesce=False
        ) as htx,
    ):

        async def read() -> None:
            while True:
                try:
                    await htx.accounts.balance(account)
                except HTXError as error:
                    sys.stderr.write(f"{error!r}\n")
                    await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for _ in range(load.concurrency):
                group.create_task(read())


@attrs.define
class Worker:
    """A worker process."""

    pid: int
    is_killed: bool = False

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and wait until it has ended."""
        self.is_killed = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            while True:
                os.kill(self.pid, 0)
                time.sleep(0.001)


@attrs.define
class WorkerPool:
    """A sandbox and its client processes, forked from a parent that has imported the package."""

    sandbox: Sandbox
    parent: subprocess.Popen[str]
    load: Load
    processes: list[Worker] = attrs.field(factory=list)

    def add(self) -> None:
        """Start one more process, which requests an account of its own."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        account = self.sandbox.account_ids[len(self.processes)]
        self.parent.stdin.write(f"{account}\n")
        self.parent.stdin.flush()
        self.processes.append(Worker(int(self.parent.stdout.readline())))

    def since(self, moment: float) -> list[ReceivedRequest]:
        return [arrival for arrival in self.sandbox.arrivals if arrival.at >= moment]

    def served(self, moment: float, until: float) -> list[int]:
        """Return the number of requests of each process."""
        counted = Counter(arrival.path for arrival in self.since(moment) if arrival.at < until)
        ids = self.sandbox.account_ids[: len(self.processes)]
        return [counted[f"/v1/account/accounts/{account}/balance"] for account in ids]

    async def all_served(self, moment: float, within: float = 20.0) -> None:
        """Wait until each live process has sent a request since *moment*."""
        async with asyncio.timeout(within):
            while True:
                now = asyncio.get_running_loop().time()
                served = zip(self.processes, self.served(moment, now), strict=True)
                if all(count for process, count in served if not process.is_killed):
                    return
                await asyncio.sleep(0.02)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        self.parent.communicate()


@contextlib.asynccontextmanager
async def worker_pool(
    url: str,
    count: int,
    load: Load = HTXS,
    fraction: float | None = None,
    window: WindowRule = "sliding",
) -> AsyncGenerator[WorkerPool]:
    """Run *count* worker processes."""
    sandbox = Sandbox(accounts=count, window=window)
    with limited(accounts, load.limit):
        async with sandbox.serve() as base_url:
            pool = WorkerPool(sandbox, start_parent(url, base_url, load, fraction), load)
            try:
                for _ in range(count):
                    await asyncio.to_thread(pool.add)
                yield pool
            finally:
                pool.close()


def start_parent(
    url: str, base_url: str, load: Load, fraction: float | None
) -> subprocess.Popen[str]:
    """Start the process that forks the workers."""
    command = [
        sys.executable,
        "-m",
        "tests.ratelimit.redis.processes",
        "--work",
        url,
        base_url,
        str(fraction or ""),
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *load.arguments], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )


def start_workers(url: str, base_url: str, fraction_text: str, load: Load) -> None:
    """Fork a process for each account id on standard input, and print its process id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reap ended workers
    for account in sys.stdin:
        if not (pid := os.fork()):
            with limited(accounts, load.limit):
                fraction = float(fraction_text) if fraction_text else None
                asyncio.run(work(url, base_url, int(account), fraction, load))
            return
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


@attrs.frozen
class Outcome:
    """
    Result of a run.

    Attributes:
        rate: Requests, as a fraction of the limit.
        pace: The same for whole rounds of all tokens, as requests come in bursts.
        rate_limited: Number of 429 responses.
        shares: Requests of each process, as a fraction of all.
    """

    rate: float
    pace: float
    rate_limited: int
    shares: tuple[float, ...]


async def measure(pool: WorkerPool, seconds: float) -> Outcome:
    """Measure for *seconds* from now on."""
    loop = asyncio.get_running_loop()
    start, rate_limited = loop.time(), pool.sandbox.rate_limited
    await asyncio.sleep(seconds)
    served = pool.served(start, start + seconds)
    total = sum(served)
    times = [arrival.at for arrival in pool.since(start)]
    limit, per = pool.load.limit.requests, pool.load.limit.per
    rounds = (len(times) - 1) // limit
    return Outcome(
        total / (limit / per * seconds),
        rounds * per / (times[rounds * limit] - times[0]) if rounds > 0 else 0.0,
        pool.sandbox.rate_limited - rate_limited,
        tuple(count / max(total, 1) for count in served),
    )


async def report(seconds: float, count: int) -> None:
    """Run *count* processes against each kind of window and print the results."""
    loop = asyncio.get_running_loop()
    for window in WINDOWS:
        with serving() as server:
            async with worker_pool(server.url, count, window=window) as pool:
                await pool.all_served(loop.time())
                outcome = await measure(pool, seconds)
                shares = ", ".join(f"{share:.1%}" for share in outcome.shares)
                sys.stdout.write(
                    f"{window}: {count} processes for {seconds:g} s: {outcome.rate:.1%} of the "
                    f"rate, {outcome.rate_limited} rate limited, shares {shares}\n"
                )


def main(arguments: Sequence[str]) -> None:
    """Run the command-line *arguments*."""
    if arguments[:1] == ["--work"]:
        url, base_url, fraction, *load = arguments[1:]
        start_workers(url, base_url, fraction, Load.of(*load))
        return
    parser = argparse.ArgumentParser(
        prog="python -m tests.ratelimit.redis.processes", description=__doc__
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args(arguments)
    asyncio.run(report(options.seconds, options.processes))


if __name__ == "__main__":
    main(sys.argv[1:])
