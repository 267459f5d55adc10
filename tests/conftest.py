"""How hypothesis runs: no deadlines, and in CI the same examples every time."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.redis_process import RedisProcess, serving

settings.register_profile("here", deadline=None, max_examples=60)
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisProcess]:
    """Run one server for all tests that take care to use keys of their own."""
    with serving() as server:
        yield server
