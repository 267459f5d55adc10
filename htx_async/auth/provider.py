"""The credentials of a client: fixed, or from an async provider that rotates them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from htx_async.auth.credentials import Credentials
from htx_async.clock import Clock
from htx_async.errors import AuthenticationError, InvalidInputError

MIN_REFRESH_INTERVAL = 30.0
"""Seconds between two calls of a provider: a key that is simply wrong must not flood it."""

_log = logging.getLogger("htx_async")

Provider = Callable[[], Awaitable[Credentials]]
"""Returns the current credentials, for example from a vault."""


class CredentialStore:
    """
    Credentials, or a provider that is called for them.

    Attributes:
        current: The current credentials; `None` before the first call of a provider.
    """

    def __init__(self, source: Credentials | Provider, clock: Clock) -> None:
        self.current: Credentials | None = source if isinstance(source, Credentials) else None
        self._provider = None if isinstance(source, Credentials) else source
        self._clock = clock
        self._lock = asyncio.Lock()
        self._fetched_at = -math.inf

    async def ensure(self) -> None:
        """Set `current`: call the provider if it was not called yet."""
        async with self._lock:
            if self.current is None:
                await self._fetch()

    async def refresh(self, rejected: Credentials) -> bool:
        """Call the provider again after HTX rejected credentials; return whether they changed."""
        async with self._lock:
            recently = self._clock.monotonic() < self._fetched_at + MIN_REFRESH_INTERVAL
            if self._provider is not None and self.current == rejected and not recently:
                await self._fetch()
            return self.current != rejected

    async def _fetch(self) -> None:
        assert self._provider is not None
        self._fetched_at = self._clock.monotonic()
        credentials: object = None
        failure = ""
        try:
            credentials = await self._provider()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = type(error).__qualname__
        except Exception as error:  # noqa: BLE001 - a provider may fail in any way
            failure = type(error).__qualname__
        # Raised outside of `except`: the provider's error may contain secrets.
        if failure:
            msg = f"the credentials provider failed with {failure}"
            raise AuthenticationError(msg, delivery="not_sent")
        if not isinstance(credentials, Credentials):
            kind = type(credentials).__qualname__
            msg = f"the credentials provider must return Credentials, got {kind}"
            raise InvalidInputError(msg)
        if self.current not in (None, credentials):
            _log.info("key rotation: the credentials provider returned %r", credentials)
        self.current = credentials
