"""Drives clients through faults, and prints what they left behind: `python -m tests.soak`."""

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
    AccountBalance,
    Credentials,
    DecodeError,
    HTXClient,
    HTXError,
    PointBalance,
    RateLimit,
    RateLimiter,
    RetryPolicy,
)
from htx_async.clock import Clock
from htx_async.ratelimit.limiter import LimitedEndpoint
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import TokenBucket
from tests.soak.exchange import ACCOUNTS, LIMITS, Counts, exchange

ACCESS, SECRET = "access-key", "secret-key"
WORKERS = 192
CLIENTS = 3
FIRST_ID = 1_000_001
LOGGED = 5.0
"""Seconds during which all loggers are read at DEBUG: more would be a soak of the loggers."""

Read = Callable[[HTXClient], Awaitable[object]]


class RaisedLimits(RateLimiter):
    """The limits as the exchange of the soak has them."""

    def _new_queue(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        # As many requests, in a shorter window: a 429 blocks all for a short time only.
        limit = RateLimit(endpoint.limit.requests, endpoint.limit.per / LIMITS)
        return TokenQueue(TokenBucket(limit), clock, endpoint.name)


@attrs.frozen
class Span:
    """A start, and the end: after *seconds*, and not before *calls* calls."""

    since: float
    seconds: float
    calls: int = 0


@attrs.define
class Tally:
    """Counts the outcomes of calls."""

    outcomes: Counter[str] = attrs.field(factory=Counter)
    over_tls: int = 0
    wrong: int = 0
    secrets: int = 0
    newest: int = 0

    @property
    def calls(self) -> int:
        """The number of calls."""
        return self.outcomes.total()

    def error(self, error: BaseException) -> None:
        """Count an error, and look for secrets in its texts."""
        self.outcomes[type(error).__name__] += 1
        text = f"{error}{error!r}{vars(error)}{error.__cause__!r}{error.__context__!r}"
        self.secrets += ACCESS in text or SECRET in text
        self.wrong += isinstance(error, DecodeError) and error.path == "data.id"

    def result(self, result: object, expected: object, floor: int) -> None:
        """Count a result: it must be as expected, and newer than response number *floor*."""
        self.outcomes["answered"] += 1
        value, number = split(result)
        self.wrong += value != expected or not (number is None or number > floor)
        self.newest = max(self.newest, number or 0)


def split(result: object) -> tuple[object, int | None]:
    """Return a result without the number of its response, and the number if it has one."""
    if isinstance(result, AccountBalance):
        rows = [(entry.currency, entry.type, entry.balance) for entry in result.entries]
        return (result.id, result.type, rows), result.entries[0].seq_num
    if isinstance(result, PointBalance):
        return attrs.evolve(result, account_id=0), result.account_id
    return result, None


class Soak:
    """A mixed load on several clients of one user."""

    def __init__(self, base_urls: Sequence[str], seed: int) -> None:
        self.base_urls = base_urls
        self.random = random.Random(seed)  # noqa: S311 - no secret is made of it
        self.rate_limiter = RaisedLimits()
        self.tally = Tally()
        self.expected: dict[str, object] = {}
        self.left: Counter[str] = Counter()
        self.created = 0
        self.clients = [self.client() for _ in range(CLIENTS)]

    def client(self) -> HTXClient:
        """Return one more client of the same user: over plain http and over TLS in turn."""
        self.created += 1
        return HTXClient(
            Credentials(ACCESS, SECRET),
            base_url=self.base_urls[self.created % len(self.base_urls)],
            rate_limiter=self.rate_limiter,
            timeout=2.0,
            retry=RetryPolicy(attempts=3, initial_delay=0.01, max_delay=0.05),
        )

    def reads(self) -> dict[str, Read]:
        """Return all calls, by name."""
        reads: dict[str, Read] = {
            "list": lambda htx: htx.accounts.list(),
            "points": lambda htx: htx.points.balance(),
            "sub": lambda htx: htx.points.balance(sub_uid=1001),
        }
        for number in range(FIRST_ID, FIRST_ID + ACCOUNTS):
            reads[f"balance {number}"] = lambda htx, number=number: htx.accounts.balance(number)  # type: ignore[misc]
        return reads

    async def learn_results(self) -> None:
        """Make each call once, while nothing fails, to know the correct results."""
        for name, read in self.reads().items():
            self.expected[name], _ = split(await read(self.clients[0]))
        values = list(map(repr, self.expected.values()))
        assert len(values) == len(set(values)), "a wrong response could not be recognised"

    async def work(self, span: Span) -> None:
        """Make one call after the other, with random options."""
        reads = list(self.reads().items())
        while self.done(span) < 1:
            name, read = self.random.choice(reads)
            htx, floor = self.some_client(), self.tally.newest
            self.tally.over_tls += is_tls(htx)
            call = asyncio.ensure_future(read(htx))
            if self.random.random() < 0.15:
                await asyncio.sleep(self.random.random() ** 3 * 0.05)
                call.cancel()
            await self.count(name, call, floor)

    def some_client(self) -> HTXClient:
        """Return a client with random options."""
        htx = self.random.choice(self.clients)
        choice = self.random.random()
        if choice < 0.1:
            return htx.with_options(timeout=self.random.uniform(0.001, 0.2))
        if choice < 0.2:
            return htx.with_options(queue_timeout=self.random.choice([0, 0.01, 0.1]))
        if choice < 0.3:
            return htx.with_options(max_queue=self.random.randrange(20))
        if choice < 0.4:
            return htx.with_options(attempt_timeout=self.random.uniform(0.001, 0.5))
        return htx.with_options(coalesce=choice < 0.8)

    async def count(self, name: str, call: asyncio.Future[object], floor: int) -> None:
        """Wait for a call and count its outcome."""
        try:
            result = await call
        except asyncio.CancelledError:
            self.tally.outcomes["cancelled"] += 1
        except HTXError as error:
            self.tally.error(error)
        else:
            self.tally.result(result, self.expected[name], floor)

    def done(self, span: Span) -> float:
        """Return the part that is over; 1 or more: all of it."""
        passed = (time.monotonic() - span.since) / span.seconds
        return min(passed, self.tally.calls / span.calls) if span.calls else passed

    async def replace_clients(self, span: Span) -> None:
        """Replace a client every few seconds, whatever it is doing."""
        while self.done(span) < 1:
            await asyncio.sleep(min(3.0, span.seconds))
            self.clients.append(self.client())
            await self.close(self.clients.pop(0))

    async def close(self, htx: HTXClient) -> None:
        """Close a client, and count what it left behind."""
        await htx.aclose()
        self.left["slots"] += htx._adapter.slots.in_use
        if pool := htx._adapter._pool:  # type: ignore[attr-defined]  # it was used
            self.left["TLS" if is_tls(htx) else "plain"] += pool.open_connections

    async def watch(self, span: Span) -> list[tuple[float, int]]:
        """Return the MiB and objects held now, and after each quarter."""
        samples = [held()]
        for quarter in (1, 2, 3, 4):
            while self.done(span) < quarter / 4:  # noqa: ASYNC110 - time is half of it
                await asyncio.sleep(span.seconds / 100)
            samples.append(held())
        return samples


def is_tls(htx: HTXClient) -> bool:
    """Return whether a client uses TLS."""
    return "https://" in repr(htx)


def left_behind(soak: Soak) -> dict[str, int]:
    """Return counts that must be zero at the end."""
    queues = soak.rate_limiter._queues.values()
    return {
        "tokens out": sum(queue.bucket.in_use for queue in queues),
        "slots taken": soak.left["slots"],
        "waiters": sum(queue.queued for queue in queues),
        "tasks": len(asyncio.all_tasks()) - 1,
        "plain connections": soak.left["plain"],
        "TLS connections": soak.left["TLS"],
        "sockets": sockets(),
    }


def sockets() -> int:
    """Return the number of open sockets of this process."""
    links = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.exists())
    return sum(str(link).startswith("socket:") for link in links)


def held() -> tuple[float, int]:
    """Return the MiB that this process holds, and the number of blocks of Python objects."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20, sys.getallocatedblocks()


async def drive(
    base_urls: Sequence[str], line: Any, seconds: float, calls: int, seed: int
) -> dict[str, object]:
    """Soak for *seconds* and at least *calls* calls, and return the rows of the table."""
    before = sockets()
    soak = Soak(base_urls, seed)
    await soak.learn_results()
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
    line.send("counts")
    counts: Counts = await asyncio.to_thread(line.recv)
    await asyncio.get_running_loop().shutdown_default_executor()
    left = left_behind(soak)
    left["sockets"] -= before
    return {
        "seconds": f"{took:.0f}",
        "calls": soak.tally.calls,
        "calls over TLS": soak.tally.over_tls,
        "requests to the exchange": counts.requests,
        **{f"  {name}": count for name, count in soak.tally.outcomes.most_common()},
        "wrong responses": soak.tally.wrong,
        "limit breaches": counts.rate_limited,
        "secrets in errors": soak.tally.secrets,
        "secrets in logs": log.count(ACCESS) + log.count(SECRET) + log.count("Signature="),
        "left behind": ", ".join(f"{count} {name}" for name, count in left.items()),
        "MiB held, each quarter": " ".join(f"{size:.1f}" for size, _ in watch.result()),
        "objects, each quarter": " ".join(f"{count:,}" for _, count in watch.result()),
    }


async def _logged(soak: Soak, seconds: float) -> str:
    """Work a while with all loggers at DEBUG, and return their output."""
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
    """Return the rows that must be zero and are not."""
    zero = ("wrong responses", "limit breaches", "secrets in errors", "secrets in logs")
    bad = [name for name in zero if rows[name]]
    left = str(rows["left behind"])
    return bad + ([left] if any(part[0] != "0" for part in left.split(", ")) else [])


def main(arguments: Sequence[str]) -> int:
    """Soak, print the table, and return the exit status: 0 if nothing was lost, leaked or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration (60)")
    parser.add_argument("--minutes", type=float, default=0.0, help="the same, in minutes")
    parser.add_argument("--calls", type=int, default=0, help="minimum number of calls")
    parser.add_argument("--seed", type=int, default=1, help="of faults and load (1)")
    options = parser.parse_args(arguments)
    seconds = options.minutes * 60 or options.seconds
    with exchange(options.seed) as (base_urls, line):
        rows = asyncio.run(drive(base_urls, line, seconds, options.calls, options.seed))
    table = [
        f"{name:<28}{f'{value:,}' if isinstance(value, int) else value}"
        for name, value in rows.items()
    ]
    print("\n".join(table))
    bad = failures(rows)
    print(f"not zero: {', '.join(bad)}" if bad else "nothing lost, leaked or wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
