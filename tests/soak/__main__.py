"""`python -m tests.soak --seconds 60`: drive the client through faults, and print what is left."""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import logging
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from htx_async import (
    AiohttpTransport,
    Credentials,
    HTXClient,
    HTXError,
    RateLimit,
    RateLimiter,
    RetryPolicy,
)
from htx_async.ratelimit.token_bucket import TokenBucket
from tests.soak.exchange import ACCOUNTS, LIMITS, Told, exchange

ACCESS, SECRET = "access-key", "secret-key"
WORKERS = 192
CLIENTS = 3
FIRST_ID = 1_000_001
LOGGED = 5.0
"""Seconds for which every logger is read at DEBUG: more would be a soak of the loggers."""

Read = Callable[[HTXClient], Awaitable[object]]


class Raised(RateLimiter):
    """The limits as the exchange of the soak has them."""

    def _new_bucket(self, limit: RateLimit) -> TokenBucket:
        # As many in a window of HTX's length; but a refusal holds all up for a moment only.
        return TokenBucket(RateLimit(limit.requests, limit.per / LIMITS))


@attrs.frozen
class Span:
    """From when on, and for how long: for some seconds, and until so many calls are made."""

    since: float
    seconds: float
    calls: int = 0


@attrs.define
class Tally:
    """What has come of the calls."""

    outcomes: Counter[str] = attrs.field(factory=Counter)
    wrong: int = 0
    secrets: int = 0
    late: int = 0

    @property
    def calls(self) -> int:
        """All calls."""
        return self.outcomes.total()

    def error(self, error: BaseException) -> None:
        """Count an error, and look for secrets in all that it tells."""
        self.outcomes[type(error).__name__] += 1
        said = f"{error}{error!r}{vars(error)}{error.__cause__!r}{error.__context__!r}"
        self.secrets += ACCESS in said or SECRET in said


class Soak:
    """A mixed load on several clients of one user."""

    def __init__(self, base_url: str, seed: int) -> None:
        self.base_url = base_url
        self.random = random.Random(seed)  # noqa: S311 - no secret is made of it
        self.budget = Raised()
        self.tally = Tally()
        self.right: dict[str, object] = {}
        self.left: Counter[str] = Counter()
        self.made = 0
        self.clients = [self.client() for _ in range(CLIENTS)]

    def client(self) -> HTXClient:
        """Return one more client of the same user, over the one wire or the other."""
        self.made += 1
        return HTXClient(
            Credentials(ACCESS, SECRET),
            transport=AiohttpTransport() if self.made % 2 else None,
            base_url=self.base_url,
            rate_limiter=self.budget,
            timeout=2.0,
            retry=RetryPolicy(attempts=3, initial_delay=0.01, max_delay=0.05),
        )

    def reads(self) -> dict[str, Read]:
        """Return all that can be asked, by name."""
        reads: dict[str, Read] = {
            "list": lambda htx: htx.accounts.list(),
            "points": lambda htx: htx.points.balance(),
            "sub": lambda htx: htx.points.balance(sub_uid=1001),
        }
        for number in range(FIRST_ID, FIRST_ID + ACCOUNTS):
            reads[f"balance {number}"] = lambda htx, number=number: htx.accounts.balance(number)  # type: ignore[misc]
        return reads

    async def learn(self) -> None:
        """Read everything once, while nothing fails: this is what is right."""
        for name, read in self.reads().items():
            self.right[name] = await read(self.clients[0])

    async def work(self, span: Span) -> None:
        """Make one call after the other, each in its own way."""
        reads = list(self.reads().items())
        while self.done(span) < 1:
            name, read = self.random.choice(reads)
            call = asyncio.ensure_future(read(self.some_client()))
            if self.random.random() < 0.15:
                await asyncio.sleep(self.random.random() ** 3 * 0.05)
                call.cancel()
            await self.count(name, call)

    def some_client(self) -> HTXClient:
        """Return a client with options as they may come."""
        htx = self.random.choice(self.clients)
        choice = self.random.random()
        if choice < 0.1:
            return htx.with_options(timeout=self.random.uniform(0.001, 0.2))
        if choice < 0.2:
            return htx.with_options(queue_timeout=self.random.choice([0, 0.01, 0.1]))
        if choice < 0.3:
            return htx.with_options(max_queue=self.random.randrange(20))
        return htx.with_options(coalesce=choice < 0.7)

    async def count(self, name: str, call: asyncio.Future[object]) -> None:
        """Wait for a call and count what came of it."""
        try:
            answer = await call
        except asyncio.CancelledError:
            self.tally.outcomes["cancelled"] += 1
        except HTXError as error:
            self.tally.error(error)
        else:
            self.tally.outcomes["answered"] += 1
            self.tally.wrong += answer != self.right[name]

    def done(self, span: Span) -> float:
        """Return how much of it is over, 1 and more for all of it."""
        passed = (time.monotonic() - span.since) / span.seconds
        return min(passed, self.tally.calls / span.calls) if span.calls else passed

    async def replace_clients(self, span: Span) -> None:
        """Close a client now and then, whatever it is doing, and go on with a new one."""
        while self.done(span) < 1:
            await asyncio.sleep(min(3.0, span.seconds))
            old, self.clients[0] = self.clients[0], self.client()
            self.clients.reverse()
            await self.close(old)

    async def close(self, htx: HTXClient) -> None:
        """Close a client, and count what it leaves behind."""
        await htx.aclose()
        slots = htx._connection_slots
        self.left["slots"] += slots.bucket.in_use
        self.left["waiters"] += slots.status().queued

    async def watch(self, span: Span) -> list[tuple[float, int]]:
        """Return what is held now, and after each quarter: MiB, and objects."""
        seen = [held()]
        for quarter in (1, 2, 3, 4):
            while self.done(span) < quarter / 4:  # noqa: ASYNC110 - time is half of it
                await asyncio.sleep(span.seconds / 100)
            seen.append(held())
        return seen


def left_behind(soak: Soak) -> dict[str, int]:
    """Return what should be nothing at the end."""
    queues = [queue for of in soak.budget._queues.values() for queue in of.values()]
    return {
        "tokens out": sum(queue.bucket.in_use for queue in queues),
        "slots taken": soak.left["slots"],
        "waiters": soak.left["waiters"] + sum(queue.status().queued for queue in queues),
        "tasks": len(asyncio.all_tasks()) - 1,
        "sockets": sockets(),
    }


def sockets() -> int:
    """Return how many sockets this process has open."""
    links = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.exists())
    return sum(str(link).startswith("socket:") for link in links)


def held() -> tuple[float, int]:
    """Return the MiB that this process holds now, and how many blocks of it Python's objects."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20, sys.getallocatedblocks()


async def drive(
    base_url: str, line: Any, seconds: float, calls: int, seed: int
) -> dict[str, object]:
    """Soak for *seconds*, and until there are *calls*, and return the rows of the table."""
    before = sockets()
    soak = Soak(base_url, seed)
    await soak.learn()
    line.send("go")
    log = await _logged(soak, min(LOGGED, seconds / 3))
    gc.collect()
    span = Span(time.monotonic(), seconds, calls)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(soak.watch(span))
        group.create_task(soak.replace_clients(span))
        for _ in range(WORKERS):
            group.create_task(soak.work(span))
    took = time.monotonic() - span.since
    await asyncio.gather(*(soak.close(htx) for htx in soak.clients))
    await asyncio.sleep(0.1)
    line.send("how many?")
    told: Told = await asyncio.to_thread(line.recv)
    await asyncio.get_running_loop().shutdown_default_executor()
    left = left_behind(soak)
    left["sockets"] -= before
    return {
        "seconds": f"{took:.0f}",
        "calls": soak.tally.calls,
        "requests to the exchange": told.requests,
        **{f"  {name}": count for name, count in soak.tally.outcomes.most_common()},
        "wrong answers": soak.tally.wrong,
        "limit breaches": told.refused,
        "secrets in errors": soak.tally.secrets,
        "secrets in logs": log.count(ACCESS) + log.count(SECRET) + log.count("Signature="),
        "left behind": ", ".join(f"{count} {name}" for name, count in left.items()),
        "MiB held, each quarter": " ".join(f"{size:.1f}" for size, _ in watch.result()),
        "objects, each quarter": " ".join(f"{count:,}" for _, count in watch.result()),
    }


async def _logged(soak: Soak, seconds: float) -> str:
    """Work a while with every logger at DEBUG, and return what they said."""
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    span = Span(time.monotonic(), seconds)
    await asyncio.gather(*(soak.work(span) for _ in range(WORKERS)))
    root.setLevel(level)
    root.removeHandler(handler)
    return stream.getvalue()


def failures(rows: dict[str, object]) -> list[str]:
    """Return the rows that should have been nothing."""
    nothing = ("wrong answers", "limit breaches", "secrets in errors", "secrets in logs")
    bad = [name for name in nothing if rows[name]]
    left = str(rows["left behind"])
    return bad + ([left] if any(part[0] != "0" for part in left.split(", ")) else [])


def main(arguments: Sequence[str]) -> int:
    """Soak, print the table, and return 0 if nothing was lost, leaked or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--minutes", type=float, default=0.0, help="the same, in minutes")
    parser.add_argument("--calls", type=int, default=0, help="and until there are so many")
    parser.add_argument("--seed", type=int, default=1, help="of faults and load (1)")
    parser.add_argument("--markdown", type=Path, help="write the table into this page, too")
    given = parser.parse_args(arguments)
    seconds = given.minutes * 60 or given.seconds
    with exchange(given.seed) as (base_url, line):
        rows = asyncio.run(drive(base_url, line, seconds, given.calls, given.seed))
    table = [
        f"{name:<28}{f'{value:,}' if isinstance(value, int) else value}"
        for name, value in rows.items()
    ]
    print("\n".join(table))
    bad = failures(rows)
    print(f"NOT NOTHING: {', '.join(bad)}" if bad else "nothing lost, leaked or wrong")
    if given.markdown:
        write(given.markdown, table)
    return 1 if bad else 0


def write(page: Path, table: Sequence[str]) -> None:
    """Put the table where the page has room for it."""
    text = page.read_text(encoding="utf-8")
    head, mark, tail = text.partition("% soak table\n")
    tail = tail.partition("% end of the soak table\n")[2]
    shown = "\n".join(["```text", *table, "```"])
    page.write_text(f"{head}{mark}\n{shown}\n\n% end of the soak table\n{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
