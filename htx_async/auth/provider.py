"""The keys that a client uses: given once, or asked for again when HTX no longer takes them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from htx_async.auth.credentials import Credentials
from htx_async.clock import Clock
from htx_async.errors import AuthenticationError, InvalidInputError

AT_MOST_EVERY = 30.0
"""Seconds between two questions to a provider: a key that is simply wrong must not flood it."""

Provider = Callable[[], Awaitable[Credentials]]
"""Returns the keys that are good now, from a vault for instance."""


class Keys:
    """Credentials, or a provider that is asked for them."""

    def __init__(self, given: Credentials | Provider, clock: Clock) -> None:
        self._provider = None if isinstance(given, Credentials) else given
        self._credentials = given if isinstance(given, Credentials) else None
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = -math.inf

    @property
    def credentials(self) -> Credentials:
        """The keys as they are now; only after `ready`."""
        assert self._credentials is not None
        return self._credentials

    async def ready(self) -> None:
        """See that there are keys: ask the provider if it was not asked yet."""
        if self._credentials is None:
            async with self._asking:
                if self._credentials is None:
                    await self._ask()

    async def renewed(self, used: Credentials) -> bool:
        """Ask the provider again after HTX refused *used*; tell whether there are other keys."""
        async with self._asking:
            recently = self._clock.monotonic() < self._asked_at + AT_MOST_EVERY
            if self._provider is not None and self._credentials == used and not recently:
                await self._ask()
            return self._credentials != used

    async def _ask(self) -> None:
        assert self._provider is not None
        self._asked_at = self._clock.monotonic()
        found: object = None
        try:
            found = await self._provider()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failed = type(error).__qualname__
        except Exception as error:  # noqa: BLE001 - a provider may fail in any way
            failed = type(error).__qualname__
        else:
            failed = ""
        # Raised out here: what the provider's error holds is not ours to hand out.
        if failed:
            msg = f"the provider of credentials failed with {failed}"
            raise AuthenticationError(msg, fate="not_sent")
        if not isinstance(found, Credentials):
            msg = f"the provider must return Credentials, not {type(found).__qualname__}"
            raise InvalidInputError(msg)
        self._credentials = found
