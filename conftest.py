"""Runs every code block of the README and the docs against a sandbox."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

from htx_async.sandbox import Sandbox
from htx_async.transport import budget
from tests.redis_process import RedisProcess, serving


class ShellBlockParser(CodeBlockParser):
    """Runs the lines of a shell block that call the command; CI runs the README's set-up."""

    language = "sh"

    def evaluate(self, example: Example) -> None:
        """Run the block."""
        for line in example.parsed.splitlines():
            if line.startswith("htx-async "):
                command = [sys.executable, "-m", "htx_async", *shlex.split(line)[1:]]
                subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - ours


@pytest.fixture(scope="session")
def served_sandbox() -> Iterator[str]:
    """Serve a sandbox from another thread, for programs that run a loop of their own."""
    started: list[str] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with Sandbox().serve() as base_url:
            started.append(base_url)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield started[0]
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisProcess]:
    """Run one server for all tests that take care to use keys of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def keys_of_the_sandbox(
    served_sandbox: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Let `HTXClient.from_env()` and the command ask the sandbox; and one page a Redis."""
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.setenv("HTX_SECRET_KEY", "secret-key")
    monkeypatch.setenv("HTX_BASE_URL", served_sandbox)
    if "workers.md" in request.node.nodeid:
        server: RedisProcess = request.getfixturevalue("redis_process")
        server.grow(10.0)  # older than a lease of that page
        monkeypatch.setenv("REDIS_URL", server.url)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), ShellBlockParser()],
    patterns=["README.md", "docs/*.md"],
    fixtures=["keys_of_the_sandbox"],
).pytest()


@pytest.fixture(autouse=True)
def _full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test start with the tokens of a new process."""
    monkeypatch.setattr(budget, "_remembered", {})
    monkeypatch.setattr(budget, "_in_use", weakref.WeakValueDictionary())
