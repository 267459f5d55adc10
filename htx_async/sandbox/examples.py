"""Examples of movements, at any time, so that they do not depend on the clock."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from htx_async.sandbox.records import HistoryRow, LedgerRow, SandboxUser

_HOUR = 3_600_000
HISTORY_INTERVAL = 6 * _HOUR
"""Milliseconds between two examples in the history of an account."""
LEDGER_INTERVAL = 5 * 24 * _HOUR
"""Milliseconds between two transfers."""

_WITHOUT_EXAMPLES = ("otc", "point")
_CHANGES = (  # amount, type, currency
    ("-10.000000000000000000", "transfer", "usdt"),
    ("0.002393000000000000", "trade", "btc"),
    ("-0.000004786000000000", "transact-fee", "btc"),
    ("250.5", "deposit", "usdt"),
    ("0.000000000000000001", "rebate", "usdt"),
)


def history(user: SandboxUser, account_id: int, start: int, end: int) -> Iterator[HistoryRow]:
    """Yield the examples of an account from *start* to *end*, in milliseconds since 1970."""
    kinds = {account.id: account.type for account in user.accounts}
    if kinds.get(account_id) in _WITHOUT_EXAMPLES:
        return
    for number in range(-(-start // HISTORY_INTERVAL), end // HISTORY_INTERVAL + 1):
        amount, kind, currency = _CHANGES[number % len(_CHANGES)]
        yield HistoryRow(
            account_id,
            # As HTX's ids: beyond 2**53.
            record_id=number * 10**12 + account_id,
            currency=currency,
            transact_amt=amount,
            transact_type=kind,
            transact_time=number * HISTORY_INTERVAL,
            avail_balance="81.850043797676510303",
            acct_balance="87.010043797676510318",
        )


def ledger(user: SandboxUser, account_id: int, start: int, end: int) -> Iterator[LedgerRow]:
    """Yield the examples of an account: transfers between it and its neighbours."""
    ids = [account.id for account in user.accounts if account.type not in _WITHOUT_EXAMPLES]
    for number in range(-(-start // LEDGER_INTERVAL), end // LEDGER_INTERVAL + 1):
        for payer, payee in pairwise(ids):
            if account_id in (payer, payee):
                sign = "-" if account_id == payer else ""
                yield LedgerRow(
                    account_id,
                    "usdt",
                    f"{sign}10.{number % 10}",
                    transfer_type="margin-transfer-in",
                    transact_id=number,
                    transact_time=number * LEDGER_INTERVAL,
                    transferer=payer,
                    transferee=payee,
                )
