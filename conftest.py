"""Runs every code block of the README and the docs against a sandbox."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

from htx_async import AiohttpTransport, client
from htx_async.ratelimit import limiter
from htx_async.sandbox import Sandbox
from htx_async.transports.adapter import HTTP
from tests.redis_process import RedisProcess, serving

ROOT = Path(__file__).parent
PYTHON = shlex.quote(sys.executable)
PROGRAMS = {"htx-async": "htx_async", "uvicorn": "uvicorn"}
SET_UP = re.compile(r"^python3 -m venv|^pip install|\bnox\b")
END_WHAT_RUNS = "set -euo pipefail; trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"


class ShellBlockParser(CodeBlockParser):
    """Runs a shell block with this Python; CI runs the set-up that the README begins with."""

    language = "sh"

    def evaluate(self, example: Example) -> None:
        """Run the block. What it leaves in the background ends with it."""
        script = END_WHAT_RUNS + as_run_here(example.parsed)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path}
        if "curl" in script and not shutil.which("curl"):
            reason = "there is no curl"
            raise SkipTest(reason)
        done = subprocess.run(  # noqa: S603 - ours
            ["bash", "-c", script],  # noqa: S607 - wherever it is
            cwd=ROOT,
            env=environment,
            timeout=50,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def as_run_here(block: str) -> str:
    """Return a block without its set-up, with this Python, and on ports that are free."""
    lines = [line for line in block.splitlines() if not SET_UP.search(line)]
    text = "\n".join(lines)
    for name, module in PROGRAMS.items():
        text = re.sub(rf"(?m)(^|[ =])(\.venv/bin/)?{name} ", rf"\1{PYTHON} -m {module} ", text)
    text = re.sub(r"(\.venv/bin/)python\b", PYTHON, text)
    return re.sub(r"\b80[08]0\b", lambda port: free_port(port[0]), text)


@functools.cache
def free_port(instead_of: str) -> str:
    """Return a port that nobody listens on, always the same for one that the docs name."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    del instead_of
    return str(port)


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


@pytest.fixture(scope="session", autouse=True)
def _redis_grows_old(request: pytest.FixtureRequest) -> None:
    """Start that server with the first test: who needs one that is trusted waits no longer."""
    if any("redis_process" in getattr(test, "fixturenames", ()) for test in request.session.items):
        request.getfixturevalue("redis_process")


@pytest.fixture
def keys_of_the_sandbox(
    served_sandbox: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Let `HTXClient.from_env()` and the command ask the sandbox; and one page a Redis."""
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.setenv("HTX_SECRET_KEY", "secret-key")
    monkeypatch.setenv("HTX_BASE_URL", served_sandbox)
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "recipes"))
    if "workers.md" in request.node.nodeid:
        server: RedisProcess = request.getfixturevalue("redis_process")
        server.grow(10.0)  # older than a lease of that page
        monkeypatch.setenv("REDIS_URL", server.url)


def for_skipping(namespace: dict[str, Any]) -> None:
    """Let a page skip a block: `% skip: next if(not there("polars"), reason="...")`."""
    namespace["there"] = find_spec


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), ShellBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    setup=for_skipping,
    fixtures=["keys_of_the_sandbox"],
).pytest()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let all tests that can go over the other wire, too."""
    parser.addoption("--wire", choices=["httpx", "aiohttp"], default="httpx", help="(httpx)")


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over what stays anyway: the tests themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let clients that are given no transport have the one that was asked for."""
    name = str(request.config.getoption("--wire"))
    if name == "aiohttp":
        if request.node.get_closest_marker("httpx"):
            pytest.skip("about httpx")
        monkeypatch.setattr(client, "HTTP", _by_aiohttp)
    return name


def _by_aiohttp(transport: Any, *args: Any, **options: Any) -> HTTP:
    return HTTP(transport or AiohttpTransport(), *args, **options)


@pytest.fixture(autouse=True)
def _full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test start with the tokens of a new process."""
    monkeypatch.setattr(limiter, "_remembered", {})
    monkeypatch.setattr(limiter, "_in_use", weakref.WeakValueDictionary())
