"""A fresh process for one client: its cold first call, and the most memory that a call takes."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.benchmarks.clients import Contender, call_of
from tests.benchmarks.timing import Sample, Stopwatch, put_away


@attrs.frozen
class Fresh:
    """
    What a fresh process told.

    Attributes:
        cold: The first call; making the client and connecting are part of it, imports are not.
        peak: KiB that a later call takes at most, and what it keeps of them is let go.
        resident: MiB of memory that the process had at most, all imports included.
    """

    cold: Sample
    peak: float
    resident: float


def measure(contender: Contender, work: int | str, url: str) -> Fresh:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.fresh", contender.name, str(work), url]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    cpu, wall, peak, resident = json.loads(told.stdout.splitlines()[-1])
    return Fresh(Sample(cpu, wall), peak, resident)


async def _measured(name: str, work: int | str, url: str) -> list[float]:
    from tests.benchmarks.rivals import named  # noqa: PLC0415 - it would go round in a circle

    contender = named(name)
    await contender.make(url).aclose()  # imports what it needs
    put_away()
    watch = Stopwatch()
    client = contender.make(url)
    call = call_of(client, work)
    await call()
    cold = watch.sample(1)
    await call()
    resident = _resident()
    tracemalloc.start()
    await call()
    await asyncio.sleep(0.01)  # what still runs for it ends, and lets go of it
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    await call()
    peak = (tracemalloc.get_traced_memory()[1] - before) / 1024
    tracemalloc.stop()
    await client.aclose()
    return [cold.cpu, cold.wall, peak, resident]


def _resident() -> float:
    """Return the MiB that this process had at most; 0: nobody tells."""
    # Not `ru_maxrss`: a process inherits that of its parent.
    status = Path("/proc/self/status")
    most = re.search(r"VmHWM:\s*([0-9]+)", status.read_text("utf-8")) if status.exists() else None
    return int(most[1]) / 1024 if most else 0.0


def main(arguments: Sequence[str]) -> None:
    """Measure the client and the work that *arguments* name, and print figures."""
    name, work, url = arguments
    told = asyncio.run(_measured(name, int(work) if work.isdigit() else work, url))
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
