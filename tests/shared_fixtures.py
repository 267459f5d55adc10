"""pytest plugin with what tests and code blocks of the docs share: servers, and a clean state."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator

import pytest

from htx_async.ratelimit import limiter
from htx_async.sandbox import Sandbox
from tests.redis_process import RedisProcess, serving


@pytest.fixture(scope="session")
def _serving() -> Iterator[tuple[Sandbox, str]]:
    """Serve a sandbox from another thread."""
    base_urls: list[str] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop, sandbox = asyncio.Event(), Sandbox()

    async def serve() -> None:
        async with sandbox.serve() as base_url:
            base_urls.append(base_url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield sandbox, base_urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def served_sandbox(_serving: tuple[Sandbox, str]) -> str:
    """Return the address of a sandbox, for programs that run a loop of their own."""
    sandbox, base_url = _serving
    sandbox.reset()  # it has not counted requests of other tests, as the buckets have not
    return base_url


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisProcess]:
    """Run one server for all tests that use keys of their own."""
    with serving() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _early_redis_process(request: pytest.FixtureRequest) -> None:
    """Start that server with the first test: it is old enough to be trusted when it is needed."""
    if any("redis_process" in getattr(test, "fixturenames", ()) for test in request.session.items):
        request.getfixturevalue("redis_process")


def pytest_configure(config: pytest.Config) -> None:
    """Measure coverage in the workers of pytest-xdist, not in the processes that tests start."""
    if hasattr(config, "workerinput"):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_collection_finish() -> None:
    """Exclude from garbage collection what stays anyway: the tests themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test with the tokens of a new process."""
    monkeypatch.setattr(limiter, "_recent", OrderedDict())
    monkeypatch.setattr(limiter, "_active", weakref.WeakValueDictionary())
