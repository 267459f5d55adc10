"""What a sandbox's world is made of: users, their keys, accounts and points."""

from __future__ import annotations

from decimal import Context, Decimal

import attrs

_EXACT = Context(prec=1000)
_PLACES = 8


@attrs.frozen
class APIKey:
    """
    An API key, as its owner would have made it on HTX's web site.

    *permissions* are HTX's words: "read", "trade", "withdraw". *ip_addresses*: who may use the
    key; empty: anybody. An *expired* key still signs, but is refused.
    """

    access_key: str
    secret_key: str = attrs.field(repr=False)
    permissions: tuple[str, ...] = ("read",)
    ip_addresses: tuple[str, ...] = ()
    expired: bool = False


@attrs.frozen
class BalanceRow:
    """
    One row of a balance: an amount of *currency* of the type "trade", "frozen", "loan" and so on.

    Amounts are strings, in units of the currency, and go out as they are. HTX calls `debt` and
    `available` invalid fields. A field that is `None` is left out of the answer.
    """

    currency: str
    type: str
    balance: str
    debt: str | None = None
    available: str | None = None
    seq_num: str | None = None


@attrs.frozen
class SandboxAccount:
    """
    An account of a user.

    *type* is HTX's word ("spot", "margin", "point", ...), *subtype* the trading symbol of an
    isolated margin account, *state* "working" or "lock". The balance of an account of type "otc"
    is refused, as HTX refuses it.
    """

    id: int
    type: str
    subtype: str = ""
    state: str = "working"
    rows: tuple[BalanceRow, ...] = ()


@attrs.frozen
class PointsGroup:
    """
    Points that were bought together. *expiry_date*: milliseconds since 1970-01-01 UTC.

    Termless points have the group id 0 and no expiry date.
    """

    group_id: int
    expiry_date: int | None
    remain_amt: str


def _sum(points: PointsAccount) -> str:
    # Exact, and with at least 8 decimal places, as HTX prints it.
    total = Decimal(0)
    for group in points.groups:
        total = _EXACT.add(total, Decimal(group.remain_amt))
    _, _, exponent = total.as_tuple()
    assert isinstance(exponent, int), "amounts are finite"
    return f"{total:.{max(_PLACES, -exponent)}f}"


@attrs.frozen
class PointsAccount:
    """
    The points of a user; *acct_balance* is the exact sum of the groups unless told otherwise.

    *account_status* is HTX's word: "working", "lock", "fl-sys", "fl-mgt", "fl-end" or
    "fl-negative".
    """

    account_id: str = "14403739"
    groups: tuple[PointsGroup, ...] = ()
    account_status: str = "working"
    acct_balance: str = attrs.field(default=attrs.Factory(_sum, takes_self=True))


@attrs.frozen
class Valuation:
    """
    What the accounts of one *account_type* are worth: *balance*, in units of *currency*.

    *account_type* is HTX's word, *currency* in upper case; the balance goes out as it is.
    """

    account_type: str
    currency: str
    balance: str


@attrs.frozen
class SandboxUser:
    """
    A user, known by *uid*. A sub user names its parent user's UID in *parent*.

    Accounts are listed in the order given. What is not among *valuations* is worth "0".
    """

    uid: int
    keys: tuple[APIKey, ...] = ()
    accounts: tuple[SandboxAccount, ...] = ()
    points: PointsAccount = PointsAccount()
    parent: int | None = None
    valuations: tuple[Valuation, ...] = ()
