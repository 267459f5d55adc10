"""Compares this version with another checkout, e.g. an older commit, in one interleaved run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs

from tests.benchmarks import canned
from tests.benchmarks.signing import cpu_of_process
from tests.benchmarks.tables import Options, table
from tests.benchmarks.timing import ratio, spread

ROUNDS: Final = 15
ROOT: Final = Path(__file__).parents[2]
WORKER: Final = str(Path(__file__).with_name("worker.py"))
_HEAD: Final = ("", "new, µs of CPU", "old, µs of CPU", "new / old")

Times = dict[str, tuple[list[float], list[float]]]
"""Microseconds of both versions, one for each round, by title."""


@attrs.frozen
class Job:
    """
    One line of the table.

    Attributes:
        work: A call that the worker knows.
        count: Calls of each worker in a batch.
        less: Another call, whose time is subtracted.
    """

    title: str
    work: str
    in_flight: int = 1
    count: int = 1
    less: str = ""


def _calls() -> Iterator[Job]:
    titles = {"points": "points", "rows": "3,000 rows, untouched", "rows read": "3,000 rows read"}
    counts = {"points": (100, 8, 4), "rows": (8, 1, 1), "rows read": (8, 1, 1)}
    for work, title in titles.items():
        for in_flight, count in zip((1, 16, 64), counts[work], strict=True):
            yield Job(f"{title}, {in_flight} in flight", work, in_flight, count)


JOBS: Final = {
    "calls": tuple(_calls()),
    "decode": (
        Job("decode 3,000 rows, untouched", "rows, offline", 1, 5, less="points, offline"),
        Job("decode 3,000 rows, read", "rows read, offline", 1, 5, less="points, offline"),
    ),
    "signing": (Job("sign", "sign", 1, 500),),
}


@attrs.frozen
class Version:
    """A checkout, and the Python that runs it."""

    root: Path
    python: str

    @classmethod
    def at(cls, root: Path) -> Version:
        """Return a checkout with the Python of its own environment, else with this one."""
        root = root.resolve()
        own = root / ".venv" / "bin" / "python"
        return cls(root, str(own) if own.exists() else sys.executable)

    def command(self, *arguments: str) -> list[str]:
        """Return a command that imports the package of this checkout only."""
        return ["env", f"PYTHONPATH={self.root}", self.python, "-P", *arguments]

    def first_call(self, url: str) -> float:
        """Return the CPU of a fresh process that makes one call."""
        return cpu_of_process(*self.command(WORKER, url, "--first"))

    def imported(self) -> float:
        """Return the CPU of the import, without that of an empty process."""
        imported = cpu_of_process(*self.command("-c", "import htx_async"))
        return imported - cpu_of_process(*self.command("-c", "pass"))

    @contextmanager
    def worker(self, url: str) -> Iterator[Callable[[Job], float]]:
        """Start a worker; yield a function that returns the CPU of a job."""
        with subprocess.Popen(
            self.command(WORKER, url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def ask(request: object) -> str:
                stdin.write(f"{json.dumps(request)}\n")
                stdin.flush()
                return stdout.readline()

            def cpu(job: Job) -> float:
                time = float(ask((job.work, job.in_flight, job.count)))
                return time - float(ask((job.less, job.in_flight, job.count))) if job.less else time

            bodies = {path.decode(): body.decode() for path, body in canned.responses().items()}
            sys.stderr.write(f"{self.root}: {ask(bodies)}")
            try:
                yield cpu
            finally:
                stdin.close()


def measure(commands: Collection[str], new: Version, old: Version, rounds: int) -> Times:
    """Measure both versions, in turn in each round; the first round is dropped."""
    times: Times = {}
    with ExitStack() as stack:
        url = stack.enter_context(canned.serving())
        versions = [(one, stack.enter_context(one.worker(url))) for one in (new, old)]
        for number in range(rounds + 1):
            sys.stderr.write(f"against: round {number} of {rounds}\n")
            # The other version begins in each round.
            for index in (0, 1) if number % 2 else (1, 0):
                version, cpu = versions[index]
                for title, time in _round(commands, version, cpu, url):
                    times.setdefault(title, ([], []))[index].append(time)
    return {title: (one[1:], other[1:]) for title, (one, other) in times.items()}


def _round(
    commands: Collection[str], version: Version, cpu: Callable[[Job], float], url: str
) -> Iterator[tuple[str, float]]:
    for command in commands:
        for job in JOBS.get(command, ()):
            yield job.title, cpu(job)
    if "calls" in commands:
        yield "fresh process, first call", version.first_call(url)
    if "signing" in commands:
        yield "import htx_async", version.imported()


def report(times: Times) -> str:
    """Return the table: medians, and the median of the ratios of each round."""
    rows = [
        (title, str(spread(new)), str(spread(old)), f"{ratio(new, old):.2f}")
        for title, (new, old) in times.items()
    ]
    return table(_HEAD, rows)


def run(commands: Sequence[str], other: Path, options: Options) -> None:
    """Measure and print the table."""
    new = Version(ROOT, sys.executable)
    sys.stdout.write(report(measure(commands, new, Version.at(other), options.rounds_or(ROUNDS))))
