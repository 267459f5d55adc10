"""Users of the sandbox, with their API keys, accounts, points and valuations."""

from __future__ import annotations

from decimal import Decimal, localcontext

import attrs

_PRECISION = 1000  # digits: more than any sum of amounts has


@attrs.frozen
class APIKey:
    """
    API key of a user.

    *permissions* are those of HTX: "read", "trade", "withdraw". *ip_addresses*: the addresses that
    may use the key; empty: any. With an *expired* key every signed request is an API error.
    """

    access_key: str
    secret_key: str = attrs.field(repr=False)
    permissions: tuple[str, ...] = ("read",)
    ip_addresses: tuple[str, ...] = ()
    expired: bool = False


@attrs.frozen
class BalanceRow:
    """
    Row of a balance: an amount of *currency* of the type "trade", "frozen", "loan" and so on.

    Amounts are strings, in units of the currency, and are sent unchanged. A field that is `None`
    is omitted from the response. HTX's documentation calls `debt` and `available` invalid fields.
    """

    currency: str
    type: str
    balance: str
    debt: str | None = None
    available: str | None = None
    seq_num: str | None = None


@attrs.frozen(cache_hash=True)  # rows come by the thousand
class SandboxAccount:
    """
    Account of a user.

    *type* as HTX names it ("spot", "margin", "point", ...), *subtype*: the trading symbol of an
    isolated margin account, *state*: "working" or "lock". The balance of an account of type "otc"
    is an API error, as at HTX.
    """

    id: int
    type: str
    subtype: str = ""
    state: str = "working"
    rows: tuple[BalanceRow, ...] = ()


@attrs.frozen
class PointsGroup:
    """
    Points that expire together. *expiry_date*: milliseconds since 1970-01-01 UTC.

    Termless points have the group id 0 and no expiry date.
    """

    group_id: int
    expiry_date: int | None
    remain_amt: str


def exact_sum(*amounts: str) -> str:
    """Return the sum of *amounts* without rounding, and without exponent."""
    with localcontext(prec=_PRECISION):
        return f"{sum(map(Decimal, amounts)):f}"


def _total(points: PointsAccount) -> str:
    # The start value gives the sum at least 8 decimal places, as in HTX's examples.
    return exact_sum("0.00000000", *(group.remain_amt for group in points.groups))


@attrs.frozen
class PointsAccount:
    """
    Points of a user. Default of *acct_balance*: the exact sum of the groups.

    *account_status* as HTX names it: "working", "lock", "fl-sys", "fl-mgt", "fl-end" or
    "fl-negative".
    """

    account_id: str = "14403739"
    groups: tuple[PointsGroup, ...] = ()
    account_status: str = "working"
    acct_balance: str = attrs.field(default=attrs.Factory(_total, takes_self=True))


@attrs.frozen
class Valuation:
    """
    Value of the accounts of one *account_type*: *balance*, in units of *currency*.

    *account_type* as HTX names it, *currency* in upper case; the balance is sent unchanged.
    """

    account_type: str
    currency: str
    balance: str


@attrs.frozen
class SandboxUser:
    """
    User with a *uid*. *parent*: the UID of the parent user, for a sub user.

    Accounts are listed in this order. An account type without a valuation has the value "0".
    """

    uid: int
    keys: tuple[APIKey, ...] = ()
    accounts: tuple[SandboxAccount, ...] = ()
    points: PointsAccount = PointsAccount()
    parent: int | None = None
    valuations: tuple[Valuation, ...] = ()
