"""Fixtures for all tests, and how hypothesis runs: no deadlines, in CI the same examples."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

import pytest
from hypothesis import settings

from tests.virtual import VirtualClock, VirtualLoop

settings.register_profile("here", deadline=None, max_examples=60)
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests that use `virtual_time` on a loop whose time jumps to the next timer."""
    virtual = "virtual_time" in getattr(item, "fixturenames", ())
    return {"virtual": VirtualLoop} if virtual else {"real": asyncio.new_event_loop}


@pytest.fixture
def virtual_time() -> VirtualClock:
    """Return the clock of the virtual loop that the test runs on."""
    return VirtualClock()
