"""Keys that are given, and keys that a provider hands out."""

from __future__ import annotations

import asyncio

import pytest

from htx_async import AuthenticationError, Credentials, InvalidInputError
from htx_async.auth.provider import MIN_REFRESH_INTERVAL, CredentialStore
from tests.virtual import VirtualClock

OLD, NEW = Credentials("access-old", "secret"), Credentials("access-new", "secret")


class Vault:
    """A provider that counts how often it is asked, and hands out what it is given."""

    def __init__(self, *keys: object) -> None:
        self.keys = list(keys)
        self.asked = 0

    async def __call__(self) -> Credentials:
        self.asked += 1
        await asyncio.sleep(0.1)
        found = self.keys[0] if len(self.keys) == 1 else self.keys.pop(0)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[return-value]


@pytest.mark.usefixtures("virtual_time")
async def test_given_keys_stay() -> None:
    """There is nobody to ask for others."""
    keys = CredentialStore(OLD, VirtualClock())
    await keys.ensure()
    assert keys.credentials is OLD
    assert not await keys.refresh(OLD)


@pytest.mark.usefixtures("virtual_time")
async def test_a_provider_is_asked_once_for_many() -> None:
    """A hundred reads start at once."""
    vault = Vault(OLD)
    keys = CredentialStore(vault, VirtualClock())
    await asyncio.gather(*(keys.ensure() for _ in range(100)))
    assert vault.asked == 1
    assert keys.credentials is OLD


@pytest.mark.usefixtures("virtual_time")
async def test_it_is_asked_again_when_keys_are_refused_but_not_at_once() -> None:
    """A key that is wrong everywhere must not flood the vault."""
    clock, vault = VirtualClock(), Vault(OLD, OLD, NEW)
    keys = CredentialStore(vault, clock)
    await keys.ensure()
    assert not await keys.refresh(OLD)
    assert vault.asked == 1
    await clock.sleep(MIN_REFRESH_INTERVAL)
    assert not await keys.refresh(OLD)
    assert vault.asked == 2
    await clock.sleep(MIN_REFRESH_INTERVAL)
    assert await asyncio.gather(*(keys.refresh(OLD) for _ in range(9))) == [True] * 9
    assert vault.asked == 3
    assert keys.credentials is NEW


@pytest.mark.usefixtures("virtual_time")
async def test_a_provider_that_fails_is_told_without_its_words() -> None:
    """What its error says may be a secret."""
    keys = CredentialStore(Vault(OSError("vault token s3cr3t")), VirtualClock())
    with pytest.raises(AuthenticationError, match="failed with OSError") as caught:
        await keys.ensure()
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.delivery == "not_sent"


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("found", [None, "access-key", ("a", "b")])
async def test_a_provider_must_return_credentials(found: object) -> None:
    """Anything else is told by its type."""
    with pytest.raises(InvalidInputError, match="must return Credentials, got"):
        await CredentialStore(Vault(found), VirtualClock()).ensure()


@pytest.mark.usefixtures("virtual_time")
async def test_a_provider_that_cancels_itself_has_failed() -> None:
    """Who asks is not cancelled by it."""

    async def vault() -> Credentials:
        raise asyncio.CancelledError

    with pytest.raises(AuthenticationError, match="failed with CancelledError"):
        await CredentialStore(vault, VirtualClock()).ensure()


@pytest.mark.usefixtures("virtual_time")
async def test_who_is_cancelled_while_a_provider_is_asked_leaves() -> None:
    """And the next one asks it again."""
    vault = Vault(OLD)
    keys = CredentialStore(vault, VirtualClock())
    first = asyncio.create_task(keys.ensure())
    await asyncio.sleep(0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await keys.ensure()
    assert keys.credentials is OLD
