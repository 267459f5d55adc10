"""The world that a sandbox has unless it is given another one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice

from htx_async.sandbox.records import (
    APIKey,
    BalanceRow,
    PointsAccount,
    PointsGroup,
    SandboxAccount,
    SandboxUser,
    Valuation,
)

_PARENT_UID = 1000
_FIRST_ID = 1_000_001
_POINT_ID = 14_403_739
_FEWEST_ACCOUNTS = 2

# The balance in the example of HTX's documentation, row by row.
_EXAMPLE = (
    BalanceRow("usdt", "trade", "91.850043797676510303", "invalid", "invalid", "477"),
    BalanceRow("usdt", "frozen", "5.160000000000000015", "invalid", "invalid", "477"),
    BalanceRow("poly", "trade", "147.928994082840236", "invalid", "invalid", "2"),
)
_WELL_KNOWN = ("btc", "eth", "trx", "htx", "xrp", "sol", "doge", "ltc")

# Fixed dates (2030, 2031, 2032), so that a world is the same whenever it is made.
_GROUPS = (
    PointsGroup(26, 1_893_456_000_000, "0.3"),
    PointsGroup(418, 1_924_992_000_000, "120.50000000"),
    PointsGroup(5077, 1_956_528_000_000, "3.14159265"),
    PointsGroup(0, None, "25.00000001"),
)

# The first is the example of HTX's documentation.
_VALUATIONS = (
    Valuation("spot", "BTC", "34.75"),
    Valuation("spot", "USD", "2259791.50"),
    Valuation("margin", "BTC", "0.015000000000000001"),
    Valuation("super-margin", "BTC", "0"),
)


def default_users(
    *, currencies: int | None = None, accounts: int | None = None
) -> tuple[SandboxUser, ...]:
    """
    Return a parent user (UID 1000) and its sub users (UIDs 1001 and 1002).

    *currencies*: the spot account 1000001 has a trade and a frozen row for each of so many
    currencies. *accounts*: the parent has exactly so many accounts, with ids from 1000001 on, all
    of which can be read; without it, a handful, with the point account 14403739 and an otc
    account, whose balance is refused. The point account is listed first either way.
    """
    _check(currencies, accounts)
    spot = SandboxAccount(_FIRST_ID, "spot", rows=_spot_rows(currencies))
    owned = _handful(spot) if accounts is None else _many(spot, accounts)
    return (_parent(owned), *_sub_users())


def _check(currencies: int | None, accounts: int | None) -> None:
    if currencies is not None and currencies < 1:
        message = "currencies must be at least 1"
        raise ValueError(message)
    if accounts is not None and accounts < _FEWEST_ACCOUNTS:
        message = "accounts must be at least 2: one for spot, one for points"
        raise ValueError(message)


def _parent(accounts: tuple[SandboxAccount, ...]) -> SandboxUser:
    points = PointsAccount(str(accounts[0].id), _GROUPS)
    keys = (APIKey("access-key", "secret-key"),)
    return SandboxUser(_PARENT_UID, keys, accounts, points, valuations=_VALUATIONS)


def _sub_users() -> tuple[SandboxUser, SandboxUser]:
    spot = SandboxAccount(9_000_001, "spot", rows=_pair("usdt", "12.5", "0", "31"))
    with_key = SandboxUser(
        1001,
        (APIKey("sub-access-key", "sub-secret-key"),),
        (spot,),
        PointsAccount("14403740", (PointsGroup(418, 1_924_992_000_000, "7.25"),)),
        parent=_PARENT_UID,
        valuations=(Valuation("spot", "BTC", "0.00019230"),),
    )
    return with_key, SandboxUser(1002, points=PointsAccount("14403741"), parent=_PARENT_UID)


def _handful(spot: SandboxAccount) -> tuple[SandboxAccount, ...]:
    numbered = islice(_further(), 3)
    otc = SandboxAccount(_FIRST_ID + 4, "otc")
    return (_point_account(_POINT_ID), spot, *numbered, otc)


def _many(spot: SandboxAccount, accounts: int) -> tuple[SandboxAccount, ...]:
    # The point account has the last id, so that every id from the first one on can be read.
    point = _point_account(_FIRST_ID + accounts - 1)
    return (point, spot, *islice(_further(), accounts - 2))


def _further() -> Iterator[SandboxAccount]:
    """Return accounts next to the spot account without end, the most interesting ones first."""
    ids = count(_FIRST_ID + 1)
    first = (
        SandboxAccount(next(ids), "margin", "btcusdt", rows=_margin_rows("btc")),
        SandboxAccount(next(ids), "super-margin", rows=_margin_rows("eth")),
        SandboxAccount(next(ids), "grid-trading", rows=_pair("usdt", "250", "49.75", "8")),
    )
    return chain(first, map(_isolated, ids))


def _isolated(number: int) -> SandboxAccount:
    currency = f"c{number - _FIRST_ID}"
    return SandboxAccount(number, "margin", f"{currency}usdt", rows=_margin_rows(currency))


def _point_account(number: int) -> SandboxAccount:
    # HTX shows points as a currency of their own, in rows without debt and available.
    rows = (
        BalanceRow("hbpoint", "trade", PointsAccount(groups=_GROUPS).acct_balance, seq_num="5"),
        BalanceRow("hbpoint", "frozen", "0", seq_num="5"),
    )
    return SandboxAccount(number, "point", rows=rows)


def _margin_rows(currency: str) -> tuple[BalanceRow, ...]:
    return (
        *_pair(currency, "0.015000000000000000", "0.005000000000000000", "19"),
        # What is owed is negative; -1 means that all of the trade balance may leave.
        BalanceRow(currency, "loan", "-2.433000000000000000", "0", seq_num="19"),
        BalanceRow(currency, "interest", "-0.000533750000000000", "0", seq_num="19"),
        BalanceRow(currency, "transfer-out-available", "-1", "0", seq_num="19"),
        BalanceRow(currency, "loan-available", "10", "0", seq_num="19"),
        *_pair("usdt", "1203.400000000000000000", "0", "20"),
    )


def _spot_rows(currencies: int | None) -> tuple[BalanceRow, ...]:
    if currencies is None:
        return _EXAMPLE
    poly_frozen = _pair("poly", "0", "0", "2")[1]
    rows = chain((*_EXAMPLE, poly_frozen), chain.from_iterable(_filler()))
    return tuple(islice(rows, 2 * currencies))


def _filler() -> Iterator[tuple[BalanceRow, BalanceRow]]:
    """Return pairs of rows without end; one in sixteen holds something."""
    named = chain(_WELL_KNOWN, (f"c{number}" for number in count(1)))
    return map(_filler_pair, count(), named)


def _filler_pair(number: int, currency: str) -> tuple[BalanceRow, BalanceRow]:
    if number % 16:
        return _pair(currency, "0", "0", "0")
    return _pair(currency, f"{number}.000000000000000001", "0.25", str(number + 1))


def _pair(currency: str, trade: str, frozen: str, seq_num: str) -> tuple[BalanceRow, BalanceRow]:
    # As recorded in late 2025: debt is "0", and only trade rows say what is available.
    return (
        BalanceRow(currency, "trade", trade, "0", trade, seq_num),
        BalanceRow(currency, "frozen", frozen, "0", seq_num=seq_num),
    )
