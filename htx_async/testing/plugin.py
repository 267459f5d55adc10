"""
pytest plugin with the fixtures `htx_sandbox` and `htx_client`.

They are not async, so they work with every plugin that runs async tests, in every mode. pytest
imports this module in all projects of an environment, so the fixtures import what they need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from htx_async import Credentials, EventLoopError, HTXClient, RateLimiter

if TYPE_CHECKING:
    from htx_async.sandbox import Sandbox


@pytest.fixture
def htx_sandbox() -> Sandbox:
    """Return a new sandbox with its default users. Override it to test with others."""
    from htx_async.sandbox import Sandbox  # noqa: PLC0415 - not needed in other projects

    return Sandbox()


@pytest.fixture
def htx_client(htx_sandbox: Sandbox) -> Iterator[HTXClient]:
    """Return a client for the first user of `htx_sandbox`, with a rate limiter of its own."""
    import httpx  # noqa: PLC0415 - not needed in other projects

    key = htx_sandbox.users[0].keys[0]
    client = HTXClient(
        Credentials(key.access_key, key.secret_key),
        transport=httpx.ASGITransport(app=htx_sandbox),
        rate_limiter=RateLimiter(),
    )
    yield client
    # The event loop of the test may be closed already. There is no connection to close.
    with closing(asyncio.new_event_loop()) as loop, suppress(EventLoopError):
        loop.run_until_complete(client.aclose())
