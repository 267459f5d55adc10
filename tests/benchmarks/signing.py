"""The small costs: a signature; and new processes: the import, the first call, the command."""

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
from tests.benchmarks import canned, clients, plain
from tests.benchmarks.against import NAME, THIS, Checkout
from tests.benchmarks.tables import Goal, Options, machine, table, version
from tests.benchmarks.timing import MICRO, Costs, interleaved, ratio, spread

ROUNDS: Final = 21
_RUNS: Final = 200
_HOST, _PATH = "api.huobi.pro", BALANCE.path
_SIGN, _PLAIN, _CCXT = "sign", "urlencode and hmac", "ccxt"
_NOTHING, _HTTPX, _OURS = "pass", "import httpx", "import htx_async"
_FIRST_CALL, _COMMAND = "first call", "htx-async accounts --sandbox"
_OTHER: Final = f", {NAME}"
_CALL: Final = """\
import asyncio, sys, time
from htx_async import Credentials, HTXClient

async def main():
    async with HTXClient(Credentials("access-key", "secret-key"), base_url=sys.argv[1]) as htx:
        await htx.accounts.list()

before = time.process_time()
asyncio.run(main())
print(time.process_time() - before)
"""
_LEGEND: Final = """\
CPU: median and interquartile range of {rounds} rounds. *sign*: creates a signed copy of a points
request. *urlencode and hmac*: the signing of the other clients above. *ccxt*: its `sign()`. Below:
CPU of new processes; of an import, less that of *pass*; of the *first call*, from creating the
client to closing it, after the import. httpx is imported without its command.
"""

Process = Callable[[], float]
"""Runs a new process, and returns the microseconds of CPU of what it does."""


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
    """Return the microseconds of CPU of a new process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * MICRO


def _run(*arguments: str) -> str:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # as after an installation
    return subprocess.run(arguments, check=True, env=env, stdout=subprocess.PIPE, text=True).stdout


def _import(checkout: Checkout, statement: str) -> float:
    imported = cpu_of_process(*checkout.command("-c", statement))
    return imported - cpu_of_process(*checkout.command("-c", _NOTHING))


def _processes(checkout: Checkout, url: str, suffix: str = "") -> dict[str, Process]:
    return {
        f"{_OURS}{suffix}": lambda: _import(checkout, _OURS),
        f"{_FIRST_CALL}{suffix}": lambda: float(_run(*checkout.command("-c", _CALL, url))) * MICRO,
        f"{_COMMAND}{suffix}": lambda: cpu_of_process(
            *checkout.command("-m", "htx_async", "accounts", "--sandbox")
        ),
    }


def starts(rounds: int, other: Checkout | None = None) -> Costs:
    """Return the CPU of new processes, all in turn; the first round is dropped."""
    with canned.serving() as url:
        # httpx imports its own command where click and rich are installed.
        without_command = f"import sys; sys.modules['click'] = None; {_HTTPX}"
        processes: dict[str, Process] = {
            _NOTHING: lambda: cpu_of_process(*THIS.command("-c", _NOTHING)),
            _HTTPX: lambda: _import(THIS, without_command),
            **_processes(THIS, url),
            **(_processes(other, url, _OTHER) if other else {}),
        }
        costs: Costs = {name: [] for name in processes}
        for number in range(rounds + 1):
            sys.stderr.write(f"signing: round {number} of {rounds}\n")
            for name, process in processes.items():
                costs[name].append(process())
    return {name: times[1:] for name, times in costs.items()}


def goals(signing: Costs, processes: Costs) -> list[Goal]:
    def goal(name: str, limit: float) -> Goal:
        other = processes.get(f"{name}{_OTHER}")
        return Goal(name, NAME, limit, ratio(processes[name], other) if other else None)

    return [
        Goal("a signature", "5 µs", 5.0, median(signing[_SIGN]), "µs"),
        Goal(_OURS, _HTTPX, 1.3, ratio(processes[_OURS], processes[_HTTPX])),
        goal(_OURS, 1.0),
        goal(_FIRST_CALL, 0.25),
        goal(_COMMAND, 0.75),
    ]


def report(signing: Costs, processes: Costs) -> str:
    """Return the tables."""
    rows = [(name, str(spread(times))) for name, times in signing.items()]
    lines = [
        (name, str(spread([time / 1000 for time in times]))) for name, times in processes.items()
    ]
    legend = _LEGEND.format(rounds=len(signing[_SIGN]))
    tables = (table(("", "µs"), rows), table(("new process", "ms"), lines))
    return "\n".join((machine(("htx-async", "httpx", "ccxt")), legend, *tables))


def run(options: Options) -> list[Goal]:
    """Measure, print the tables, and return the goals."""
    rounds = options.rounds_or(ROUNDS)
    signing = interleaved(_signers(quick=options.quick), rounds, _RUNS)
    processes = starts(rounds, Checkout.at(options.against) if options.against else None)
    sys.stdout.write(report(signing, processes))
    return goals(signing, processes)
