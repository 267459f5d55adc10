"""`CredentialStore`: fixed credentials and credentials from a provider."""

from __future__ import annotations

import asyncio
import functools
import logging
import pickle
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any
from unittest.mock import AsyncMock

import pytest

from htx_async import Credentials, CredentialsError, HTXClient, InvalidInputError
from htx_async.auth.provider import CredentialStore, source_problem
from htx_async.auth.provider import Provider as ProviderFunction
from tests.error_text import full_text
from tests.virtual import VirtualClock

INTERVAL = 30.0
OLD, NEW = Credentials("access-old", "secret"), Credentials("access-new", "secret")


class Provider:
    """A provider that returns or raises *results* in turn, and counts its calls."""

    def __init__(self, *results: object) -> None:
        self.results = list(results)
        self.calls = 0

    async def __call__(self) -> Credentials:
        self.calls += 1
        await asyncio.sleep(0.1)
        result = self.results[0] if len(self.results) == 1 else self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[return-value]


@pytest.mark.usefixtures("virtual_time")
async def test_fixed_credentials_are_never_refreshed() -> None:
    store = CredentialStore(OLD, VirtualClock())
    await store.ensure()
    assert store.current is OLD
    assert not await store.refresh(OLD, INTERVAL)


@pytest.mark.usefixtures("virtual_time")
async def test_provider_is_called_once_for_concurrent_calls() -> None:
    """100 calls start concurrently."""
    provider = Provider(OLD)
    store = CredentialStore(provider, VirtualClock())
    await asyncio.gather(*(store.ensure() for _ in range(100)))
    assert provider.calls == 1
    assert store.current is OLD


@pytest.mark.usefixtures("virtual_time")
async def test_provider_is_called_again_after_the_minimum_interval() -> None:
    """A key that HTX keeps rejecting must not flood the provider with calls."""
    clock, provider = VirtualClock(), Provider(OLD, OLD, NEW)
    store = CredentialStore(provider, clock)
    await store.ensure()
    assert not await store.refresh(OLD, INTERVAL)
    assert provider.calls == 1
    await clock.sleep(INTERVAL)
    assert not await store.refresh(OLD, INTERVAL)
    assert provider.calls == 2
    await clock.sleep(INTERVAL)
    assert await asyncio.gather(*(store.refresh(OLD, INTERVAL) for _ in range(9))) == [True] * 9
    assert provider.calls == 3
    assert store.current is NEW


@pytest.mark.usefixtures("virtual_time")
async def test_provider_error_text_is_not_exposed() -> None:
    """The text of the provider's exception may contain a secret."""
    store = CredentialStore(Provider(OSError("vault token s3cr3t")), VirtualClock())
    with pytest.raises(CredentialsError, match="failed with OSError") as caught:
        await store.ensure()
    assert "s3cr3t" not in full_text(caught.value)
    assert caught.value.__notes__ == ["cause: OSError: vault token [hidden]"]
    assert caught.value.retryable
    assert caught.value.__context__ is None
    assert caught.value.delivery == "not_sent"


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("result", [None, "access-key", ("a", "b")])
async def test_provider_result_of_a_wrong_type_is_rejected(result: object) -> None:
    """The error names the type."""
    with pytest.raises(InvalidInputError, match="must return Credentials, got") as caught:
        await CredentialStore(Provider(result), VirtualClock()).ensure()
    assert not caught.value.retryable
    assert "access-key" not in full_text(caught.value)


@pytest.mark.usefixtures("virtual_time")
async def test_provider_raising_cancelled_error_has_failed() -> None:
    """The caller is not cancelled."""

    async def provider() -> Credentials:
        raise asyncio.CancelledError

    with pytest.raises(CredentialsError, match="failed with CancelledError"):
        await CredentialStore(provider, VirtualClock()).ensure()


@pytest.mark.usefixtures("virtual_time")
async def test_cancelled_caller_does_not_affect_the_next_provider_call() -> None:
    """The next call gets credentials from the provider."""
    provider = Provider(OLD)
    store = CredentialStore(provider, VirtualClock())
    first = asyncio.create_task(store.ensure())
    await asyncio.sleep(0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await store.ensure()
    assert store.current is OLD


@pytest.mark.usefixtures("virtual_time")
async def test_provider_error_does_not_contain_the_current_credentials() -> None:
    """The text of the provider's exception may contain the keys that it returned before."""
    credentials = Credentials("my-key", "a-secret")
    store = CredentialStore(Provider(credentials, OSError("not my-key, a-secret")), VirtualClock())
    await store.ensure()
    with pytest.raises(CredentialsError) as caught:
        await store.renew()
    assert caught.value.__notes__ == ["cause: OSError: not [hidden], [hidden]"]
    assert store.current is credentials


@pytest.mark.usefixtures("virtual_time")
async def test_failed_provider_is_called_again_within_the_interval() -> None:
    """The interval starts when it returns credentials."""
    clock, provider = VirtualClock(), Provider(OLD, OSError("down"), NEW)
    store = CredentialStore(provider, clock)
    await store.ensure()
    await clock.sleep(INTERVAL)
    with pytest.raises(CredentialsError):
        await store.refresh(OLD, INTERVAL)
    assert await store.refresh(OLD, INTERVAL)
    assert store.current is NEW


async def fetch() -> Credentials:
    """A provider."""
    return OLD


class Vault:
    """An object with a provider as its method, and one that is a provider itself."""

    fetch = staticmethod(fetch)

    async def __call__(self) -> Credentials:
        return OLD

    async def method(self) -> Credentials:
        return OLD


@functools.wraps(fetch)
def decorated() -> Awaitable[Credentials]:
    """A provider whose decorator is not async."""
    return fetch()


@dataclass
class Unhashable:
    """A provider that compares by its fields."""

    name: str

    async def __call__(self) -> Credentials:
        return OLD

    async def method(self) -> Credentials:
        return OLD


PROVIDERS: list[Any] = [
    fetch,
    Unhashable("vault").method,
    Vault(),
    Vault().method,
    Vault.fetch,
    functools.partial(fetch),
    functools.partial(Vault()),
    decorated,
    AsyncMock(return_value=OLD),
]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_async_providers_are_accepted(provider: ProviderFunction) -> None:
    """Functions, methods, objects and their combinations."""
    assert source_problem(provider) is None
    assert "a provider" in repr(HTXClient(provider, clock=VirtualClock()))


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (lambda: OLD, "got function that is not async. Define it with `async def`"),
        (Credentials.from_env, "got method that is not async"),
        (Vault, "got the class Vault. Create an object of it"),
        (Credentials, "got the class Credentials"),
        (functools.partial(Vault), "got partial that is not async"),
        (Unhashable("access-key"), "got Unhashable that is not hashable. Define its class with"),
        ("access-key", "got str"),
        (None, "got NoneType"),
    ],
)
def test_other_providers_are_rejected_at_construction(provider: Any, message: str) -> None:
    """The first call would be too late to learn it."""
    with pytest.raises(InvalidInputError) as caught:
        HTXClient(provider)
    assert message in str(caught.value)
    assert "access-key" not in full_text(caught.value)


@pytest.mark.usefixtures("virtual_time")
async def test_log_record_of_a_key_rotation_can_be_pickled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Handlers that pass records to another process pickle their arguments."""
    caplog.set_level(logging.INFO, "htx_async")
    store = CredentialStore(Provider(OLD, NEW), VirtualClock())
    await store.ensure()
    assert await store.renew()
    (record,) = caplog.records
    assert pickle.dumps(record)
    assert record.getMessage() == f"key rotation: the credentials provider returned {NEW!r}"
