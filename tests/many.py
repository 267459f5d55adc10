"""
Several processes that share one user's limit, and a sandbox that counts what arrives.

`python -m tests.many --seconds 20` prints the rate, the refusals and the shares.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

import attrs

from htx_async import Credentials, HTXClient, HTXError, RedisBudget, Share
from htx_async.sandbox import Arrival, Sandbox
from htx_async.sandbox.windows import WindowRule
from tests.redis_process import serving

KEYS = Credentials("access-key", "secret-key")
AT_A_TIME = 36
LIMIT, PER = 100, 2.0
WINDOWS: tuple[WindowRule, ...] = ("fixed", "sliding", "bucket")
TIMEOUT = 3.5
"""Longer than a caller waits: who is cut off may be counted later, when the machine is busy."""
USER = "the tests"


async def work(url: str, base_url: str, account: int, share: float | None) -> None:
    """Read the balance of *account* again and again, with many tasks, until killed."""
    on_outage = Share(share) if share else None
    async with (
        RedisBudget(url, user=USER, on_outage=on_outage) as budget,
        HTXClient(KEYS, base_url=base_url, budget=budget, timeout=TIMEOUT, share=False) as htx,
    ):

        async def read() -> None:
            while True:
                try:
                    await htx.accounts.balance(account)
                except HTXError as error:
                    sys.stderr.write(f"{error!r}\n")
                    await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(read())


@attrs.define
class Crowd:
    """A sandbox, and the processes that ask it."""

    sandbox: Sandbox
    base_url: str
    url: str
    share: float | None = None
    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def add(self) -> None:
        """Start one more process; each reads an account of its own."""
        account = self.sandbox.account_ids[len(self.processes)]
        command = [sys.executable, "-m", "tests.many", "--work", self.url, self.base_url]
        share = str(self.share or "")
        self.processes.append(
            subprocess.Popen([*command, str(account), share], stderr=subprocess.DEVNULL)
        )

    def since(self, moment: float) -> list[Arrival]:
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
                if all(count for process, count in served if process.poll() is None):
                    return
                await asyncio.sleep(0.02)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.asynccontextmanager
async def crowd(
    url: str, count: int, share: float | None = None, window: WindowRule = "sliding"
) -> AsyncGenerator[Crowd]:
    """Run *count* processes."""
    sandbox = Sandbox(accounts=count, window=window)
    async with sandbox.serve() as base_url:
        many = Crowd(sandbox, base_url, url, share)
        try:
            for _ in range(count):
                many.add()
            yield many
        finally:
            many.close()


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
    turns = (len(times) - 1) // LIMIT
    return Outcome(
        total / (LIMIT / PER * seconds),
        turns * PER / (times[turns * LIMIT] - times[0]) if turns > 0 else 0.0,
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
        url, base_url, account, share = arguments[1:]
        asyncio.run(work(url, base_url, int(account), float(share) if share else None))
        return
    parser = argparse.ArgumentParser(prog="python -m tests.many", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args(arguments)
    asyncio.run(report(options.seconds, options.processes))


if __name__ == "__main__":
    main(sys.argv[1:])
