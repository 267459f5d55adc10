"""Selects what a command prints from the models that it fetched."""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs

from htx_async import AccountBalance, AccountType, HTXClient, RateLimitStatus, Snapshot


def drop_zero_currencies(balance: AccountBalance) -> AccountBalance:
    """Return a balance without the currencies whose amounts are all zero."""
    entries = (entry for currency in balance.nonzero() for entry in currency.entries)
    return attrs.evolve(balance, entries=tuple(entries))


def drop_zero(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without the currencies whose amounts are all zero."""
    accounts = (
        attrs.evolve(item, balance=item.balance and drop_zero_currencies(item.balance))
        for item in snapshot.accounts
    )
    return attrs.evolve(snapshot, accounts=tuple(accounts))


def failures(snapshot: Snapshot) -> list[str]:
    """Return a line for each balance that failed."""
    return [f"account {account_id}: {error}" for account_id, error in snapshot.errors.items()]


@attrs.frozen
class LimitReport:
    """The status of each rate limit, and HTX's time in seconds since 1970."""

    limits: Mapping[str, RateLimitStatus]
    server_time: float


async def limit_report(htx: HTXClient) -> LimitReport:
    """Call the accounts, points and balance endpoints, so that HTX reports its rate limits."""
    accounts = await htx.accounts.list()
    await htx.points.balance()
    for account in [account for account in accounts if account.type != AccountType.OTC][:1]:
        await htx.accounts.balance(account)
    return LimitReport(htx.limits(), time.time() + (htx.clock_offset() or 0.0))
