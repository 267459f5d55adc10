"""The small costs: a signature, and the import."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Final

from htx_async import Credentials
from htx_async.middleware.signing import sign_request
from htx_async.request import Request
from htx_async.resources.points import BALANCE
from tests.benchmarks import clients, plain
from tests.benchmarks.tables import Goal, Options, machine, table, version
from tests.benchmarks.timing import MICRO, Costs, interleaved, spread

ROUNDS: Final = 41
_RUNS: Final = 200
_HOST, _PATH = "api.huobi.pro", BALANCE.path
_SIGN, _PLAIN, _CCXT = "sign", "urlencode and hmac", "ccxt"
_NOTHING, _HTTPX, _OURS = "pass", "import httpx", "import htx_async"
# httpx imports its own command where click and rich are installed.
_IMPORTS: Final = {
    _NOTHING: "pass",
    _HTTPX: f"import sys; sys.modules['click'] = None; {_HTTPX}",
    _OURS: _OURS,
}
_LEGEND: Final = f"""\
CPU: median and interquartile range of {{rounds}} rounds. *{_SIGN}*: creates a signed copy of a
points request. *{_PLAIN}*: the signing of the other clients above. *{_CCXT}*: its `sign()`. Below:
CPU of new processes; httpx without its command-line dependencies.
"""


def _signers(*, quick: bool) -> dict[str, Callable[[], object]]:
    credentials, request = Credentials(plain.ACCESS_KEY, plain.SECRET_KEY), Request(BALANCE, _PATH)
    signers: dict[str, Callable[[], object]] = {
        _SIGN: lambda: sign_request(request, credentials, _HOST, time.time()),
        _PLAIN: lambda: plain.signed(_HOST, _PATH),
    }
    if not quick and version("ccxt"):
        ccxt = clients.ccxt_at(f"http://{_HOST}")
        signers[_CCXT] = lambda: ccxt.sign("v2/point/account", ["spot", "private"], "GET", {})
    return signers


def cpu_of_process(*arguments: str) -> float:
    """Return the microseconds of CPU of a fresh Python with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # as after an installation
    subprocess.run(arguments, check=True, env=env, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * MICRO


def imports(rounds: int) -> Costs:
    """Return the CPU of fresh processes, all in turn; the first round is dropped."""
    costs: Costs = {statement: [] for statement in _IMPORTS}
    for statement in [*_IMPORTS] * (rounds + 1):
        costs[statement].append(cpu_of_process(sys.executable, "-c", _IMPORTS[statement]))
    return {statement: times[1:] for statement, times in costs.items()}


def goals(costs: Costs, starts: Costs) -> list[Goal]:
    # Each import less the empty process of its round.
    rounds = zip(starts[_OURS], starts[_HTTPX], starts[_NOTHING], strict=True)
    imported = median((ours - nothing) / (httpx - nothing) for ours, httpx, nothing in rounds)
    return [
        Goal("a signature", "5 µs", 5.0, median(costs[_SIGN]), "µs"),
        Goal("import htx_async", "import httpx", 1.3, imported),
    ]


def report(costs: Costs, starts: Costs) -> str:
    """Return the tables."""
    rows = [(name, str(spread(times))) for name, times in costs.items()]
    lines = [(name, str(spread([time / 1000 for time in times]))) for name, times in starts.items()]
    legend = _LEGEND.format(rounds=len(costs[_SIGN]))
    tables = (table(("", "µs"), rows), table(("python -c", "ms"), lines))
    return "\n".join((machine(("htx-async", "httpx", "ccxt")), legend, *tables))


def run(options: Options) -> list[Goal]:
    """Measure, print the tables, and return the goals."""
    rounds = options.rounds_or(ROUNDS)
    costs = interleaved(_signers(quick=options.quick), rounds, _RUNS)
    starts = imports(rounds)
    sys.stdout.write(report(costs, starts))
    return goals(costs, starts)
