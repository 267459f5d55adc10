"""
Follows balances through all faults of a stream, and prints what was wrong.

`python -m tests.soak.stream --minutes 30`. Amounts only grow, so an amount that is smaller than one
that was shown before is a step back in time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import attrs

from htx_async import Credentials, HTXClient, LiveBalances, RateLimiter
from htx_async.sandbox import Fault, Sandbox, faults

CURRENCIES: Final = ("usdt", "btc", "doge", "xrp", "ltc", "ada")
ACCOUNTS: Final = ("spot", "margin:btcusdt")
MOVES: Final = 20
"""Changes a second."""
LAG: Final = 3.0
"""Seconds that REST may be behind: of each amount that is shown, `age` is that much older."""
CHANCE: Final = 0.05
BALANCE: Final = "GET /v1/account/accounts/{account-id}/balance"
CUTS: Final = (
    *(faults.close(), faults.close(1008), faults.close(1012), faults.reset()),
    *(faults.answer_and_close(), faults.hang(), faults.refuse(1.0)),
)
FAULTS: Final[dict[str, tuple[Fault, ...]]] = {
    BALANCE: (
        *(faults.html(502), faults.maintenance(), faults.too_many(retry_after=0.2)),
        *(faults.hang(), faults.reset(), faults.cut()),
        *(faults.stale(LAG), faults.stale(1.0), faults.stale(LAG, currencies=CURRENCIES[:3])),
    ),
    "GET /ws/v2": (
        *(faults.html(403), faults.html(502), faults.too_many(), faults.redirect()),
        *(faults.hang(), faults.reset(), faults.wrong_accept()),
    ),
    "WS auth": (faults.lost(), faults.reset(), faults.close(), faults.duplicated()),
    "WS sub": (
        *(faults.lost(), faults.delayed(1.0), faults.unsubscribed(), faults.answer_and_close()),
        *(
            faults.STREAM_CATALOGUE[name]
            for name in ("500: 系统异常:", "2003: query.account.list.error")
        ),
    ),
    "WS snapshot": (faults.lost(), faults.delayed(1.0), faults.cut(), faults.duplicated()),
    "WS push": (
        *(faults.lost(), faults.lost(), faults.duplicated(), faults.delayed(2.0)),
        *(faults.fragmented(), faults.trickle(0.0001), faults.field("data.seqNum", None)),
        *(faults.binary(), faults.invalid_utf8(), faults.cut(), faults.unsubscribed()),
        faults.STREAM_CATALOGUE["500: 系统异常:"],
    ),
    "WS ping": (faults.lost(),),
    "WS pong": (faults.lost(),),
}
RARE: Final = {"WS push": 0.02}
"""Faults of messages that are frequent; most of them end the connection or the subscription."""

Key = tuple[str, str]


@attrs.define
class Observations:
    """What a stream has shown, beside what was true."""

    truth: defaultdict[Key, list[tuple[float, int]]] = attrs.field(
        factory=lambda: defaultdict(list[tuple[float, int]])
    )
    shown: dict[Key, int] = attrs.field(factory=dict)
    events: Counter[str] = attrs.field(factory=Counter)
    looks: int = 0
    synced: int = 0
    backwards: int = 0
    wrong: int = 0
    late: int = 0

    def look(self, live: LiveBalances) -> None:
        """Compare what is shown with what was true."""
        now = time.monotonic()
        is_synced, age = live.synced, live.age
        self.looks += 1
        self.synced += is_synced
        self.late += is_synced and age > live.bound
        for account in ACCOUNTS:
            for currency in CURRENCIES:
                key = account, currency
                amount = int(live[account][currency].trade)
                self.backwards += amount < self.shown.get(key, 0)
                self.shown[key] = max(amount, self.shown.get(key, 0))
                self.wrong += is_synced and amount < self._true_at(key, now - age - LAG)

    def _true_at(self, key: Key, at: float) -> int:
        """Return the amount at a time."""
        history = self.truth[key]
        while len(history) > 1 and history[1][0] < at - 60:
            del history[0]
        return max((amount for since, amount in history if since <= at), default=0)


class Soak:
    """A sandbox, a client, and a stream that is observed."""

    def __init__(self, seed: int, counters: str) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret is made of it
        self.sandbox = Sandbox(limits=50, counters=counters)  # type: ignore[arg-type]
        self.observations = Observations()
        self.number = 0

    async def run(self, seconds: float) -> None:
        """Follow balances for *seconds*, then print the figures."""
        for endpoint, kinds in FAULTS.items():
            chance = RARE.get(endpoint, CHANCE)
            self.sandbox.faults.randomly(chance, kinds, seed=self.number, endpoint=endpoint)
        memory = 0.0
        async with self.sandbox.serve() as base_url:
            self._move_all()
            async with (
                HTXClient(
                    Credentials("access-key", "secret-key"),
                    base_url=base_url,
                    rate_limiter=RateLimiter(),
                    timeout=60.0,
                    attempt_timeout=2.0,
                ) as htx,
                htx.accounts.stream(ACCOUNTS) as live,
            ):
                tasks = [
                    asyncio.create_task(each)
                    for each in (self._count(live), self._move(), self._interrupt())
                ]
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    self.observations.look(live)
                    await asyncio.sleep(0.05)
                    memory = memory or (time.monotonic() > end - seconds * 0.9 and _rss()) or 0.0
                for task in tasks[1:]:
                    task.cancel()
                self.sandbox.faults.clear()
                await self._settle(live)
            await asyncio.wait(tasks)
        gc.collect()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        self._print(seconds, _rss() - memory, len(left))

    def _move_all(self) -> None:
        for account in ACCOUNTS:
            for currency in CURRENCIES:
                self._move_one(account, currency)

    def _move_one(self, account: str, currency: str) -> None:
        self.number += 1
        self.sandbox.move(account, currency, trade=self.number, frozen=0, cause="order.match")
        self.observations.truth[account, currency].append((time.monotonic(), self.number))

    async def _move(self) -> None:
        while True:
            self._move_one(self.random.choice(ACCOUNTS), self.random.choice(CURRENCIES))
            await asyncio.sleep(self.random.expovariate(MOVES))

    async def _interrupt(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(1 / 40))
            self.sandbox.interrupt_streams(self.random.choice(CUTS))

    async def _count(self, live: LiveBalances) -> None:
        async for event in live.events():
            name = f"{event.kind} ({event.reason})" if event.kind == "gap" else event.kind
            self.observations.events[name] += 1

    async def _settle(self, live: LiveBalances) -> None:
        """Wait until everything that is shown is what is true."""
        for _ in range(1200):
            amounts = {key: history[-1][1] for key, history in self.observations.truth.items()}
            self.observations.look(live)
            if live.synced and amounts == {
                (account, currency): int(live[account][currency].trade)
                for account, currency in amounts
            }:
                return
            await asyncio.sleep(0.05)
        self.observations.wrong += 1

    def _print(self, seconds: float, growth: float, left: int) -> None:
        seen = self.observations
        lines = {
            "minutes": f"{seconds / 60:.1f}",
            "changes": f"{self.number:,}",
            "synced": f"{seen.synced / seen.looks:.1%}",
            "steps back in time": seen.backwards,
            "wrong while synced": seen.wrong,
            "age above bound while synced": seen.late,
            "tasks left": left,
            "growth of memory": f"{growth:.1f} MiB",
            **{f"event {name}": f"{n:,}" for name, n in sorted(seen.events.items())},
        }
        sys.stdout.write("".join(f"{name}: {value}\n" for name, value in lines.items()))
        if seen.backwards or seen.wrong or seen.late or left:
            raise SystemExit(1)


def _rss() -> float:
    """Return the largest size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str]) -> None:
    """Run the soak."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.stream", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--counters", choices=("equal", "differ"), default="equal")
    parsed = parser.parse_args(arguments)
    asyncio.run(Soak(parsed.seed, parsed.counters).run(parsed.minutes * 60))


if __name__ == "__main__":
    main(sys.argv[1:])
