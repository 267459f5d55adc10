"""pytest plugin that runs every code block of the README and the docs against a sandbox."""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

from tests.redis_process import RedisProcess

ROOT: Final = Path(__file__).parents[1]
PYTHON: Final = shlex.quote(sys.executable)
PROGRAMS: Final = {"htx-async": "htx_async", "uvicorn": "uvicorn"}
SETUP: Final = re.compile(r"^python3 -m venv|^pip install|\bnox\b")
WAIT_FOR_PORT: Final = (
    r"for _ in {1..200}; do (: < /dev/tcp/127.0.0.1/\2) 2>/dev/null && break; sleep 0.1; done"
)
KILL_BACKGROUND_JOBS: Final = (
    "set -euo pipefail; trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
)


class ShellBlockParser(CodeBlockParser):
    """Runs a shell block with this Python; the set-up commands of the README run in CI."""

    language = "sh"

    def evaluate(self, example: Example) -> None:
        """Run the block, and kill what it leaves in the background."""
        script = KILL_BACKGROUND_JOBS + runnable(example.parsed)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        if "curl" in script and not shutil.which("curl"):
            reason = "curl is not installed"
            raise SkipTest(reason)
        done = subprocess.run(
            ["bash", "-c", script],  # noqa: S607 - bash is on PATH, wherever it is
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path},
            timeout=50,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def runnable(block: str) -> str:
    """Return a block without its set-up, with this Python and free ports, and without races."""
    lines = [line for line in block.splitlines() if not SETUP.search(line)]
    text = re.sub(r"(?<!\S)\.venv/bin/python\b", PYTHON, "\n".join(lines))
    for name, module in PROGRAMS.items():
        text = re.sub(rf"(?m)(^|[ =])(\.venv/bin/)?{name} ", rf"\1{PYTHON} -m {module} ", text)
    text = re.sub(r"\b80[08]0\b", lambda port: free_port(port[0]), text)
    return re.sub(r"(?m)^(.*--port (\d+).* &)$", rf"\1\n{WAIT_FOR_PORT}", text)


@functools.cache
def free_port(documented: str) -> str:
    """Return a free port, always the same one for a port that the docs name."""
    del documented
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return str(port)


@pytest.fixture
def sandbox_environment(
    served_sandbox: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Point `HTXClient.from_env()` and the command to the sandbox, and one page to a Redis."""
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.setenv("HTX_SECRET_KEY", "secret-key")
    monkeypatch.setenv("HTX_BASE_URL", served_sandbox)
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "recipes"))
    if "multiple-processes.md" in request.node.nodeid:
        server: RedisProcess = request.getfixturevalue("redis_process")
        for per in (1.0, 2.0):
            server.settle(per)
        monkeypatch.setenv("REDIS_URL", server.url)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Undo what a block configures, such as handlers for an output that pytest has captured."""
    loggers = (logging.getLogger(), logging.getLogger("htx_async"))
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def add_skip_condition(namespace: dict[str, Any]) -> None:
    """Let a page skip a block: `% skip: next if(not there("polars"), reason="...")`."""
    namespace["there"] = find_spec


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), ShellBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    path=str(ROOT),
    setup=add_skip_condition,
    fixtures=["_full_buckets", "sandbox_environment", "restored_logging"],
).pytest()
