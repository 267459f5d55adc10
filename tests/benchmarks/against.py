"""Another checkout of this package, e.g. an older commit, as one of the clients; and its worker."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs

from tests.benchmarks.clients import Client, Contender, Ours
from tests.benchmarks.plain import Holdings
from tests.benchmarks.timing import Sample

ROOT: Final = Path(__file__).parents[2]
NAME: Final = "the other checkout"


@attrs.frozen
class Checkout:
    """A checkout, and the Python that runs it."""

    root: Path
    python: str

    @classmethod
    def at(cls, root: Path) -> Checkout:
        """Return a checkout with the Python of its own environment, else with this one."""
        root = root.resolve()
        own = root / ".venv" / "bin" / "python"
        return cls(root, str(own) if own.exists() else sys.executable)

    def command(self, *arguments: str, path: str = "") -> list[str]:
        """Return a command that imports from *path*, or else from this checkout."""
        return ["env", f"PYTHONPATH={path or self.root}", self.python, "-P", *arguments]


THIS: Final = Checkout(ROOT, sys.executable)


class Other(Client):
    """`Ours` in a process that imports htx_async of another checkout, and these benchmarks."""

    def __init__(self, url: str, checkout: Checkout) -> None:
        super().__init__(url)
        self._directory = TemporaryDirectory()
        (Path(self._directory.name) / "htx_async").symlink_to(checkout.root / "htx_async")
        command = checkout.command("-m", __name__, url, path=f"{self._directory.name}:{ROOT}")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _ask(self, *request: object) -> Any:
        """Call a method in the process; nothing else runs meanwhile, so that nothing disturbs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(request, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)  # noqa: S301 - from our own process

    async def balance(self) -> Holdings:
        holdings: Holdings = self._ask("balance")
        return holdings

    async def points(self) -> Any:
        return self._ask("points")

    async def batch(self, work: str, in_flight: int, calls: int) -> Sample:
        sample: Sample = self._ask("batch", work, in_flight, calls)
        return sample

    async def aclose(self) -> None:
        self._process.communicate()
        self._directory.cleanup()


def contenders(root: Path | None) -> tuple[Contender, ...]:
    """Return the client of the checkout in *root*, if there is one."""
    if root is None:
        return ()
    make = partial(Other, checkout=Checkout.at(root))
    return (Contender(NAME, make, f"htx_async of {root.name}, in a process of its own"),)


async def _work(url: str) -> None:
    """Do what the other end asks for until it closes the pipe."""
    client, requests, results = Ours(url), sys.stdin.buffer, sys.stdout.buffer
    with suppress(EOFError):
        while True:
            method, *arguments = pickle.load(requests)  # noqa: S301 - from our own process
            pickle.dump(await getattr(client, method)(*arguments), results)
            results.flush()
    await client.aclose()


def main(arguments: Sequence[str]) -> None:
    """Serve the checkout that is imported, with the server at a URL."""
    asyncio.run(_work(*arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
