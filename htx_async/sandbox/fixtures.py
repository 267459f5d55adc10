"""Default users of a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice

from htx_async.sandbox.records import (
    APIKey,
    BalanceRow,
    DeductionSetting,
    DepositWithdrawalRow,
    PointsAccount,
    PointsGroup,
    SandboxAccount,
    SandboxUser,
    Valuation,
)
from htx_async.sandbox.validation import check_range

_PARENT_UID = 1000
_FIRST_ID = 1_000_001
_POINT_ID = 14_403_739
_MIN_ACCOUNTS = 2  # the spot and the point account

# The balance in the example of HTX's documentation, row by row.
_EXAMPLE = (
    BalanceRow("usdt", "trade", "91.850043797676510303", "invalid", "invalid", "477"),
    BalanceRow("usdt", "frozen", "5.160000000000000015", "invalid", "invalid", "477"),
    BalanceRow("poly", "trade", "147.928994082840236", "invalid", "invalid", "2"),
)
_KNOWN_CURRENCIES = ("btc", "eth", "trx", "htx", "xrp", "sol", "doge", "ltc")

# Fixed dates (2030, 2031, 2032), so that the users do not depend on the clock.
_GROUPS = (
    PointsGroup(26, 1_893_456_000_000, "0.3"),
    PointsGroup(418, 1_924_992_000_000, "120.50000000"),
    PointsGroup(5077, 1_956_528_000_000, "3.14159265"),
    PointsGroup(0, None, "25.00000001"),
)

# The first one is the example of HTX's documentation.
_VALUATIONS = (
    Valuation("spot", "BTC", "34.75"),
    Valuation("spot", "USD", "2259791.50"),
    Valuation("margin", "BTC", "0.015000000000000001"),
    Valuation("super-margin", "BTC", "0"),
)

# The first two are those in the example of HTX's documentation, without addresses.
_DEPOSITS_WITHDRAWALS = (
    DepositWithdrawalRow(
        45182894, "withdraw", "usdt", "400", 1_612_261_330_443, chain="trc20usdt", sub_type="FAST"
    ),
    DepositWithdrawalRow(
        61003926, "withdraw", "usdt", "2", 1_621_416_907_639, chain="trc20usdt", sub_type="FAST"
    ),
    DepositWithdrawalRow(
        24383070,
        "deposit",
        "usdt",
        "571.123456789012345678",
        1_571_303_815_800,
        "safe",
        chain="usdterc20",
        tx_hash="16382690",
    ),
)


def default_users(
    *, currencies: int | None = None, accounts: int | None = None
) -> tuple[SandboxUser, ...]:
    """
    Return a parent user (UID 1000) and its sub users (UIDs 1001 and 1002).

    The point account is always listed first.

    Args:
        currencies: Number of currencies with a trade and a frozen row in the spot account 1000001;
            `None`: those of HTX's example.
        accounts: Number of accounts of the parent, with ids from 1000001 on, all with a balance
            that HTX returns. `None`: six accounts, among them the point account 14403739 and an otc
            account, whose balance is an API error.

    Raises:
        ValueError: A number is too small.
    """
    if currencies is not None:
        check_range("currencies", currencies, 1)
    if accounts is not None:
        check_range("accounts", accounts, _MIN_ACCOUNTS)
    spot = SandboxAccount(_FIRST_ID, "spot", rows=_spot_rows(currencies))
    owned = _default_accounts(spot) if accounts is None else _many_accounts(spot, accounts)
    return (_parent(owned), *_sub_users())


def _parent(accounts: tuple[SandboxAccount, ...]) -> SandboxUser:
    points = PointsAccount(str(accounts[0].id), _GROUPS)
    keys = (APIKey("access-key", "secret-key"),)
    return SandboxUser(
        _PARENT_UID,
        keys,
        accounts,
        points,
        valuations=_VALUATIONS,
        deposits_withdrawals=_DEPOSITS_WITHDRAWALS,
        deduction=DeductionSetting(points=True),
        has_examples=True,
    )


def _sub_users() -> tuple[SandboxUser, SandboxUser]:
    with_key = SandboxUser(
        1001,
        (APIKey("sub-access-key", "sub-secret-key"),),
        (SandboxAccount(9_000_001, "spot", rows=_pair("usdt", "12.5", "0", "31")),),
        PointsAccount("14403740", (PointsGroup(418, 1_924_992_000_000, "7.25"),)),
        parent=_PARENT_UID,
        valuations=(Valuation("spot", "BTC", "0.00019230"),),
        name="algo1",
        has_examples=True,
    )
    points = PointsAccount("14403741")
    return with_key, SandboxUser(1002, points=points, parent=_PARENT_UID, state="lock")


def _default_accounts(spot: SandboxAccount) -> tuple[SandboxAccount, ...]:
    otc = SandboxAccount(_FIRST_ID + 4, "otc")
    return (_point_account(_POINT_ID), spot, *islice(_more_accounts(), 3), otc)


def _many_accounts(spot: SandboxAccount, accounts: int) -> tuple[SandboxAccount, ...]:
    # The point account gets the last id, so that there is a balance for every id from the first on.
    point = _point_account(_FIRST_ID + accounts - 1)
    return (point, spot, *islice(_more_accounts(), accounts - 2))


def _more_accounts() -> Iterator[SandboxAccount]:
    """Yield accounts with the ids after the spot account, without end, one of each type first."""
    ids = count(_FIRST_ID + 1)
    yield SandboxAccount(next(ids), "margin", "btcusdt", rows=_margin_rows("btc"))
    yield SandboxAccount(next(ids), "super-margin", rows=_margin_rows("eth"))
    yield SandboxAccount(next(ids), "grid-trading", rows=_pair("usdt", "250", "49.75", "8"))
    yield from map(_isolated_margin_account, ids)


def _isolated_margin_account(account_id: int) -> SandboxAccount:
    currency = f"c{account_id - _FIRST_ID}"
    return SandboxAccount(account_id, "margin", f"{currency}usdt", rows=_margin_rows(currency))


def _point_account(account_id: int) -> SandboxAccount:
    # HTX returns points as a currency of their own, in rows without debt and available.
    rows = (
        BalanceRow("hbpoint", "trade", PointsAccount(groups=_GROUPS).acct_balance, seq_num="5"),
        BalanceRow("hbpoint", "frozen", "0", seq_num="5"),
    )
    return SandboxAccount(account_id, "point", rows=rows)


def _margin_rows(currency: str) -> tuple[BalanceRow, ...]:
    return (
        *_pair(currency, "0.015000000000000000", "0.005000000000000000", "19"),
        # Debts are negative. -1: all of the trade balance may be transferred out.
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
    return tuple(islice(chain(_EXAMPLE, (poly_frozen,), _filler_rows()), 2 * currencies))


def _filler_rows() -> Iterator[BalanceRow]:
    """Yield the rows of further currencies, without end."""
    currencies = chain(_KNOWN_CURRENCIES, (f"c{number}" for number in count(1)))
    return chain.from_iterable(map(_filler_pair, count(), currencies))


def _filler_pair(number: int, currency: str) -> tuple[BalanceRow, BalanceRow]:
    if number % 16:
        return _pair(currency, "0", "0", "0")
    return _pair(currency, f"{number}.000000000000000001", "0.25", str(number + 1))


def _pair(currency: str, trade: str, frozen: str, seq_num: str) -> tuple[BalanceRow, BalanceRow]:
    # As recorded in late 2025: debt is "0", and only trade rows have an available amount.
    return (
        BalanceRow(currency, "trade", trade, "0", trade, seq_num),
        BalanceRow(currency, "frozen", frozen, "0", seq_num=seq_num),
    )
