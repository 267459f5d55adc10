"""Where the time of one client's calls goes."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys

from tests.benchmarks.batches import Work
from tests.benchmarks.clients import Client, call_of
from tests.benchmarks.rivals import CONTENDERS, named

_CALLS = 200
_TOP = 25


def show(name: str, work: Work, url: str, in_flight: int) -> None:
    """Print the functions in which most of the time is spent."""
    if name not in {contender.name for contender in CONTENDERS}:
        names = ", ".join(repr(contender.name) for contender in CONTENDERS)
        msg = f"no client is called {name!r}: there is {names}"
        raise SystemExit(msg)
    profile = asyncio.run(_profiled(name, work, url, in_flight))
    pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(_TOP)


async def _profiled(name: str, work: Work, url: str, in_flight: int) -> cProfile.Profile:
    try:
        client = named(name).make(url)
    except ImportError as error:
        msg = f"{name} is absent: {error}"
        raise SystemExit(msg) from None
    try:
        await _run(client, work, in_flight, in_flight)
        with cProfile.Profile() as profile:
            await _run(client, work, in_flight, _CALLS)
    finally:
        await client.aclose()
    return profile


async def _run(client: Client, work: Work, in_flight: int, calls: int) -> None:
    call = call_of(client, work)

    async def worker() -> None:
        for _ in range(max(calls // in_flight, 1)):
            await call()

    await asyncio.gather(*(worker() for _ in range(in_flight)))
