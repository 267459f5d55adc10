"""The credentials of a client: fixed, or from an async provider that rotates them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from typing import cast

from htx_async.auth.credentials import Credentials, secrets_of
from htx_async.clock import Clock
from htx_async.errors import CredentialsError, HTXError, InvalidInputError
from htx_async.redaction import describe_error

_log = logging.getLogger("htx_async")

Provider = Callable[[], Awaitable[Credentials]]
"""An async function that returns the current credentials, for example from a vault."""


def source_problem(source: object) -> str | None:
    """Return why *source* is neither credentials nor a provider; `None`: it is one of them."""
    if isinstance(source, Credentials) or (_is_async(source) and _is_hashable(source)):
        return None
    if _is_async(source):
        fix = "Define its class with @dataclass(eq=False), or pass a method of it"
        got = f"{type(source).__qualname__} that is not hashable. {fix}"
    elif isinstance(source, type):
        got = f"the class {source.__qualname__}. Create an object of it"
    elif callable(source):
        got = f"{type(source).__qualname__} that is not async. Define it with `async def`"
    else:
        got = type(source).__qualname__
    expected = "Credentials(...), or an async function that returns them"
    return f"credentials must be {expected}, got {got}"


def _is_async(source: object) -> bool:
    """Return whether calling *source* returns an awaitable, as far as that is declared."""
    if not callable(source):
        return False
    function: object = inspect.unwrap(source)
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return False
    method = inspect.getattr_static(function, "__call__")
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(method)


def _is_hashable(source: object) -> bool:
    """Return whether *source* can identify the limits that its clients share."""
    try:
        hash(source)
    except TypeError:
        return False
    return True


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
        """Set `current`: call the provider if it has not returned credentials yet."""
        async with self._lock:
            if self.current is None:
                await self._fetch()

    async def renew(self) -> bool:
        """Call the provider, and return whether the credentials changed."""
        async with self._lock:
            previous = self.current
            await self._fetch()
            return self.current != previous

    async def refresh(self, rejected: Credentials, interval: float) -> bool:
        """
        Return whether the current credentials differ from those that HTX has rejected.

        Call the provider first if it returned the rejected ones at least *interval* seconds ago.
        The interval prevents a call of the provider for every request with a wrong key.
        """
        async with self._lock:
            is_due = self._clock.monotonic() >= self._fetched_at + interval
            if self._provider is not None and self.current == rejected and is_due:
                await self._fetch()
            return self.current != rejected

    def advice(self, interval: float) -> str:
        """Return when the provider is called again, for an error about the credentials."""
        age = self._clock.monotonic() - self._fetched_at
        if self._provider is None or age >= interval:
            return ""
        return (
            f"The credentials provider was called {age:.3g} s ago: it is called again "
            f"{interval:g} s after that (refresh_interval)."
        )

    async def _fetch(self) -> None:
        if self._provider is None:
            msg = "this client has no credentials provider: pass an async function as credentials"
            raise InvalidInputError(msg)
        failure: HTXError
        try:
            credentials = cast("object", await self._provider())
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = _provider_error(error, self.current)
        except Exception as error:  # noqa: BLE001 - a provider may fail in any way
            failure = _provider_error(error, self.current)
        else:
            if isinstance(credentials, Credentials):
                if self.current not in (None, credentials):
                    # As text: handlers keep the arguments of a record, and pickle them.
                    text = "key rotation: the credentials provider returned %s"
                    _log.info(text, repr(credentials))
                self.current, self._fetched_at = credentials, self._clock.monotonic()
                return
            kind = type(credentials).__qualname__
            del credentials  # may be keys as plain text, which a traceback would show
            failure = InvalidInputError(
                f"the credentials provider must return Credentials, got {kind}"
            )
        # Raised outside of `except`: the provider's error may contain secrets.
        raise failure


def _provider_error(error: BaseException, current: Credentials | None) -> CredentialsError:
    secrets = () if current is None else secrets_of(current)
    name = type(error).__qualname__
    failure = CredentialsError(f"the credentials provider failed with {name}: see the notes")
    failure.add_note(f"cause: {describe_error(error, secrets)}")
    return failure
