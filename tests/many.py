"""
Several processes that share one user's limit, and a sandbox that counts what arrives.

`python -m tests.many --seconds 20` prints the rate, the refusals and the shares.
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
    What each process does.

    Attributes:
        limit: What the sandbox allows all of them, and the client keeps to.
        at_a_time: Its tasks; those of all processes want more than there is.
        timeout: Longer than a caller waits: who is cut off may be counted later, when the machine
            is busy.
    """

    limit: RateLimit
    at_a_time: int
    timeout: float

    @property
    def lease(self) -> float:
        """Seconds after which what a process had is free again."""
        return self.timeout + GRANT_TTL + self.limit.per

    @property
    def arguments(self) -> list[str]:
        """The command line of a process."""
        return list(map(str, (*attrs.astuple(self.limit), self.at_a_time, self.timeout)))

    @classmethod
    def of(cls, limit: str, per: str, at_a_time: str, timeout: str) -> Load:
        """Return what a command line says."""
        return cls(RateLimit(int(limit), float(per)), int(at_a_time), float(timeout))


HTXS = Load(accounts.BALANCE.limit, at_a_time=36, timeout=3.5)
"""At HTX's own limit."""
BRIEF = Load(RateLimit(20, per=0.25), at_a_time=8, timeout=1.2)
"""The same, with short periods: some of them fit into a second."""


@contextlib.contextmanager
def limited(resource: ModuleType, limit: RateLimit) -> Iterator[None]:
    """Let balances of *resource* have another limit, for the client and for the sandbox."""
    asked = replace(resource.BALANCE, limit=limit)
    ours = attrs.evolve(
        next(each for each in endpoints.ENDPOINTS if each.name == asked.name),
        limit=limit.requests,
        per=limit.per,
    )
    answered = {
        ours if each.name == asked.name else each: handler
        for each, handler in endpoints.ENDPOINTS.items()
    }
    with (
        patch.object(resource, "BALANCE", asked),
        patch.object(endpoints, "ENDPOINTS", answered),
    ):
        yield


async def work(url: str, base_url: str, account: int, share: float | None, load: Load) -> None:
    """Read the balance of *account* again and again, with many tasks, until killed."""
    on_outage = Share(share) if share else None
    async with (
        RedisRateLimiter(url, user=USER, on_outage=on_outage) as budget,
        HTXClient(
            KEYS, base_url=base_url, rate_limiter=budget, timeout=load.timeout, coalesce=False
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
            for _ in range(load.at_a_time):
                group.create_task(read())


@attrs.define
class Worker:
    """A process, by its id."""

    pid: int
    is_killed: bool = False

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, as a crash does, and wait until it has ended."""
        self.is_killed = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            while True:
                os.kill(self.pid, 0)
                time.sleep(0.001)


@attrs.define
class Crowd:
    """A sandbox, and the processes that ask it: children of one that imports all for them."""

    sandbox: Sandbox
    parent: subprocess.Popen[str]
    load: Load
    processes: list[Worker] = attrs.field(factory=list)

    def add(self) -> None:
        """Start one more process; each reads an account of its own."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        account = self.sandbox.account_ids[len(self.processes)]
        self.parent.stdin.write(f"{account}\n")
        self.parent.stdin.flush()
        self.processes.append(Worker(int(self.parent.stdout.readline())))

    def since(self, moment: float) -> list[ReceivedRequest]:
        return [arrival for arrival in self.sandbox.arrivals if arrival.at >= moment]

    def served(self, moment: float, until: float) -> list[int]:
        """Return how many requests of each process arrived."""
        counted = Counter(arrival.path for arrival in self.since(moment) if arrival.at < until)
        ids = self.sandbox.account_ids[: len(self.processes)]
        return [counted[f"/v1/account/accounts/{account}/balance"] for account in ids]

    async def all_served(self, moment: float, within: float = 20.0) -> None:
        """Wait until each process that runs has been served since *moment*."""
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
async def crowd(
    url: str,
    count: int,
    load: Load = HTXS,
    share: float | None = None,
    window: WindowRule = "sliding",
) -> AsyncGenerator[Crowd]:
    """Run *count* processes."""
    sandbox = Sandbox(accounts=count, window=window)
    with limited(accounts, load.limit):
        async with sandbox.serve() as base_url:
            many = Crowd(sandbox, parent(url, base_url, load, share), load)
            try:
                for _ in range(count):
                    await asyncio.to_thread(many.add)
                yield many
            finally:
                many.close()


def parent(url: str, base_url: str, load: Load, share: float | None) -> subprocess.Popen[str]:
    """Start the process that starts the others."""
    command = [sys.executable, "-m", "tests.many", "--work", url, base_url, str(share or "")]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *load.arguments], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )


def start_workers(url: str, base_url: str, share: str, load: Load) -> None:
    """Start a process for each account that comes in, and tell its id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended is gone
    for account in sys.stdin:
        if not (pid := os.fork()):
            with limited(accounts, load.limit):
                part = float(share) if share else None
                asyncio.run(work(url, base_url, int(account), part, load))
            return
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


@attrs.frozen
class Outcome:
    """
    What came of a run.

    Attributes:
        rate: Requests, as a part of what is allowed.
        pace: The same of whole turns of all tokens, which come in bursts.
        refused: How many were refused.
        shares: Of each process, as a part of all.
    """

    rate: float
    pace: float
    refused: int
    shares: tuple[float, ...]


async def measured(many: Crowd, seconds: float) -> Outcome:
    """Measure from now on."""
    loop = asyncio.get_running_loop()
    start, refused = loop.time(), many.sandbox.rate_limited
    await asyncio.sleep(seconds)
    served = many.served(start, start + seconds)
    total = sum(served)
    times = [arrival.at for arrival in many.since(start)]
    limit, per = many.load.limit.requests, many.load.limit.per
    turns = (len(times) - 1) // limit
    return Outcome(
        total / (limit / per * seconds),
        turns * per / (times[turns * limit] - times[0]) if turns > 0 else 0.0,
        many.sandbox.rate_limited - refused,
        tuple(each / max(total, 1) for each in served),
    )


async def report(seconds: float, count: int) -> None:
    """Print a run."""
    loop = asyncio.get_running_loop()
    for window in WINDOWS:
        with serving() as server:
            async with crowd(server.url, count, window=window) as many:
                await many.all_served(loop.time())
                outcome = await measured(many, seconds)
                shares = ", ".join(f"{share:.1%}" for share in outcome.shares)
                said = f"{outcome.rate:.1%} of the rate, {outcome.refused} refused, shares {shares}"
                sys.stdout.write(f"{window}: {count} processes for {seconds:g} s: {said}\n")


def main(arguments: Sequence[str]) -> None:
    """Run what *arguments* say."""
    if arguments[:1] == ["--work"]:
        url, base_url, share, *load = arguments[1:]
        start_workers(url, base_url, share, Load.of(*load))
        return
    parser = argparse.ArgumentParser(prog="python -m tests.many", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args(arguments)
    asyncio.run(report(options.seconds, options.processes))


if __name__ == "__main__":
    main(sys.argv[1:])
