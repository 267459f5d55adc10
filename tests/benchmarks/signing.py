"""`python -m tests.benchmarks signing`: the small costs, of a signature, a token and the import."""

from __future__ import annotations

import argparse
import asyncio
import heapq
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from htx_async import Credentials
from htx_async.auth.provider import CredentialStore
from htx_async.clock import Clock, ServerClock
from htx_async.middleware.signing import Signing, sign_request
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket
from htx_async.request import Request, Response
from htx_async.resources.points import BALANCE
from tests.benchmarks import goals, plain, rivals, tables
from tests.benchmarks.goals import Goal
from tests.benchmarks.timing import MICRO, Costs, interleaved, spread

ROUNDS: Final = 41
_QUICK: Final = 3
_EACH: Final = 200
_PAIRS: Final = 1000
_HOST: Final = "api.huobi.pro"
_SIGN, _LAYER, _PLAIN, _CCXT = "sign", "the layer", "urlencode and hmac", "ccxt"
_QUEUE, _BARE = "TokenQueue", "its heap and a counter"
_NOTHING, _HTTPX, _OURS = "pass", "import httpx", "import htx_async"
# httpx brings its own command with it where click and rich are installed: not wanted here.
_ALONE: Final = "import sys; sys.modules['click'] = None; "
_IMPORTS: Final = {_NOTHING: "pass", _HTTPX: _ALONE + _HTTPX, _OURS: _OURS}


def _done(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    msg = "it waits for something"
    raise RuntimeError(msg)


def _signers(*, short: bool) -> dict[str, Callable[[], object]]:
    credentials, clock = Credentials(plain.ACCESS_KEY, plain.SECRET_KEY), Clock()
    request, answer = Request(BALANCE, BALANCE.path), Response(200, {}, b"")

    async def send(_: Request) -> Response:
        return answer

    layer = Signing(send, CredentialStore(credentials, clock), _HOST, clock, ServerClock(clock))
    signers: dict[str, Callable[[], object]] = {
        _SIGN: lambda: sign_request(request, credentials, _HOST, clock.now()),
        _LAYER: lambda: _done(layer(request)),
        _PLAIN: lambda: plain.signed(_HOST, BALANCE.path),
    }
    if not short and tables.is_there("ccxt"):
        ccxt = rivals.ccxt_at(f"http://{_HOST}")
        signers[_CCXT] = lambda: ccxt.sign("v2/point/account", ["spot", "private"], "GET", {})
    return signers


def _tokens() -> dict[str, Callable[[], object]]:
    """Return a pair of acquire and release, and what its data structures do meanwhile."""
    clock, rule = Clock(), RateLimit(100, per=0.0)
    queue = TokenQueue(TokenBucket(rule), clock)
    returns: list[float] = []

    async def ours() -> None:
        for _ in range(_PAIRS):
            grant = await queue.acquire()
            queue.release_at(grant, clock.monotonic())

    def bare() -> None:
        free = rule.requests
        for _ in range(_PAIRS):
            now = clock.monotonic()
            while returns and returns[0] <= now:
                heapq.heappop(returns)
                free += 1
            free -= 1
            heapq.heappush(returns, clock.monotonic() + rule.per)

    return {_QUEUE: lambda: _done(ours()), _BARE: bare}


def imports(rounds: int) -> Costs:
    """Return the microseconds of CPU that fresh processes take, all in turn."""
    spent: Costs = {statement: [] for statement in _IMPORTS}
    # As an installer does: what Python compiles is kept, in the round that is dropped.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    for _ in range(rounds + 1):
        for statement, code in _IMPORTS.items():
            before = _cpu_of_children()
            command = [sys.executable, "-c", code]
            subprocess.run(command, check=True, env=environment)
            spent[statement].append((_cpu_of_children() - before) * MICRO)
    return {statement: times[1:] for statement, times in spent.items()}


def _cpu_of_children() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def measure(rounds: int, *, short: bool) -> Costs:
    """Measure signatures and tokens; *short*: without ccxt, which takes long to come."""

    async def run() -> Costs:  # the queue wants a running loop
        signed = interleaved(_signers(short=short), rounds, _EACH)
        pairs = interleaved(_tokens(), rounds, 1)
        return signed | {name: [time / _PAIRS for time in pairs[name]] for name in pairs}

    return asyncio.run(run())


def aims(costs: Costs, starts: Costs) -> list[Goal]:
    """Return the goals, with what was reached."""
    more = median(costs[_QUEUE]) - median(costs[_BARE])
    # Each import less the empty process of its round.
    pairs = zip(starts[_OURS], starts[_HTTPX], starts[_NOTHING], strict=True)
    reached = median((ours - nothing) / (httpx - nothing) for ours, httpx, nothing in pairs)
    return [
        Goal("a signature", "5 µs", 5.0, median(costs[_SIGN]), "µs"),
        Goal("acquire and release, uncontended", f"{_BARE}, more by", 1.0, more, "µs"),
        Goal("import htx_async", "import httpx", 1.3, reached),
    ]


def report(costs: Costs, starts: Costs, rounds: int) -> str:
    """Return the tables."""
    rows = [(what, str(spread(spent))) for what, spent in costs.items()]
    lines = [(what, str(spread([time / 1000 for time in spent]))) for what, spent in starts.items()]
    packages = ("htx-async", "httpx", "ccxt")
    parts = (
        tables.machine(packages),
        tables.wrapped(_LEGEND.format(rounds=rounds)),
        tables.table(("", "µs"), rows),
        tables.table(("python -c", "ms"), lines),
        "### The goals of the small costs\n",
        goals.shown(aims(costs, starts)),
    )
    return "\n".join(parts)


_LEGEND: Final = f"""\
CPU: the median of {{rounds}} rounds and where the middle half of them lies. `{_SIGN}` makes a
signed copy of a request for the points; the layer asks the clock and the keys, too, and hands it
on; *{_PLAIN}* is what the peers of the whole calls sign with; {_CCXT}: its `sign()`.
*{_QUEUE}*: a token is taken and returned while nobody waits; *{_BARE}*: what must
happen to them meanwhile, the clock read twice in both. Below, the CPU of fresh processes; httpx
without its own command, whatever is installed.
"""


def main(arguments: Sequence[str]) -> int:
    """Measure, print the tables, and put them on the page if told to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks signing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is grossly off")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="put the tables there, too")
    options = parser.parse_args(arguments)
    rounds = min(options.rounds, _QUICK) if options.quick else options.rounds
    costs, starts = measure(rounds, short=options.quick), imports(rounds)
    text = report(costs, starts, rounds)
    sys.stdout.write(text)
    if options.markdown:
        command = " ".join(["nox -s bench -- signing", *arguments])
        tables.put(options.markdown, "signing", f"```sh\n{command}\n```\n\n{text}")
    return goals.told(aims(costs, starts)) if options.check else 0
