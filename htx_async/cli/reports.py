"""What the command makes of what it has read, before it is shown."""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs

from htx_async.client import HTXClient
from htx_async.models.balance import AccountBalance
from htx_async.models.enums import AccountType
from htx_async.models.snapshot import Snapshot
from htx_async.ratelimit.queue import RateLimitStatus


def nonzero(found: AccountBalance) -> AccountBalance:
    """Return a balance without the currencies of which there is nothing."""
    entries = [entry for currency in found.nonzero() for entry in currency.entries]
    return attrs.evolve(found, entries=tuple(entries))


def held(found: Snapshot) -> Snapshot:
    """Return a snapshot without the currencies of which there is nothing."""
    return Snapshot(
        tuple(
            attrs.evolve(each, balance=each.balance and nonzero(each.balance))
            for each in found.accounts
        )
    )


def failures(found: Snapshot) -> list[str]:
    """Return why balances could not be read, but for OTC accounts: HTX does not tell those."""
    return [
        f"account {each.account.id}: {each.error}"
        for each in found.accounts
        if each.error is not None and each.account.type != AccountType.OTC
    ]


@attrs.frozen
class Stand:
    """How things stand at each endpoint at *now*, HTX's time of day in seconds since 1970."""

    limits: Mapping[str, RateLimitStatus]
    now: float


async def stand(htx: HTXClient) -> Stand:
    """Read accounts, points and a balance, so that HTX tells what is left."""
    accounts = await htx.accounts.list()
    await htx.points.balance()
    for account in [each for each in accounts if each.type != AccountType.OTC][:1]:
        await htx.accounts.balance(account)
    return Stand(htx.limits(), time.time() + (htx.clock_offset() or 0.0))
