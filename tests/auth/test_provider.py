"""Keys that are given, and keys that a provider hands out."""

from __future__ import annotations

import asyncio

import pytest

from htx_async import AuthenticationError, Credentials, InvalidInputError
from htx_async.auth.provider import AT_MOST_EVERY, Keys
from tests.virtual import VirtualClock, run

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


def test_given_keys_stay() -> None:
    """There is nobody to ask for others."""

    async def main() -> None:
        keys = Keys(OLD, VirtualClock())
        await keys.ready()
        assert keys.credentials is OLD
        assert not await keys.renewed(OLD)

    run(main())


def test_a_provider_is_asked_once_for_many() -> None:
    """A hundred reads start at once."""

    async def main() -> None:
        vault = Vault(OLD)
        keys = Keys(vault, VirtualClock())
        await asyncio.gather(*(keys.ready() for _ in range(100)))
        assert vault.asked == 1
        assert keys.credentials is OLD

    run(main())


def test_it_is_asked_again_when_keys_are_refused_but_not_at_once() -> None:
    """A key that is wrong everywhere must not flood the vault."""

    async def main() -> None:
        clock, vault = VirtualClock(), Vault(OLD, OLD, NEW)
        keys = Keys(vault, clock)
        await keys.ready()
        assert not await keys.renewed(OLD)
        assert vault.asked == 1
        await clock.sleep(AT_MOST_EVERY)
        assert not await keys.renewed(OLD)
        assert vault.asked == 2
        await clock.sleep(AT_MOST_EVERY)
        assert await asyncio.gather(*(keys.renewed(OLD) for _ in range(9))) == [True] * 9
        assert vault.asked == 3
        assert keys.credentials is NEW

    run(main())


def test_a_provider_that_fails_is_told_without_its_words() -> None:
    """What its error says may be a secret."""

    async def main() -> None:
        keys = Keys(Vault(OSError("vault token s3cr3t")), VirtualClock())
        with pytest.raises(AuthenticationError, match="failed with OSError") as caught:
            await keys.ready()
        assert "s3cr3t" not in str(caught.value)
        assert caught.value.__context__ is None
        assert caught.value.fate == "not_sent"

    run(main())


@pytest.mark.parametrize("found", [None, "access-key", ("a", "b")])
def test_a_provider_must_return_credentials(found: object) -> None:
    """Anything else is told by its type."""

    async def main() -> None:
        with pytest.raises(InvalidInputError, match="must return Credentials, not"):
            await Keys(Vault(found), VirtualClock()).ready()

    run(main())


def test_a_provider_that_cancels_itself_has_failed() -> None:
    """Who asks is not cancelled by it."""

    async def main() -> None:
        async def vault() -> Credentials:
            raise asyncio.CancelledError

        with pytest.raises(AuthenticationError, match="failed with CancelledError"):
            await Keys(vault, VirtualClock()).ready()

    run(main())


def test_who_is_cancelled_while_a_provider_is_asked_leaves() -> None:
    """And the next one asks it again."""

    async def main() -> None:
        vault = Vault(OLD)
        keys = Keys(vault, VirtualClock())
        first = asyncio.create_task(keys.ready())
        await asyncio.sleep(0.05)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await keys.ready()
        assert keys.credentials is OLD

    run(main())
