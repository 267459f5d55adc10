"""Users of the sandbox, with their API keys, accounts, points and valuations."""

from __future__ import annotations

from decimal import Decimal, localcontext

import attrs

_PRECISION = 1000  # digits: more than any sum of amounts has


@attrs.frozen
class APIKey:
    """
    API key of a user.

    Attributes:
        access_key: Access key.
        secret_key: Secret key; not in the repr.
        permissions: HTX's permissions: `"read"`, `"trade"`, `"withdraw"`.
        ip_addresses: Addresses that may use the key; empty: any.
        expired: Whether every signed request with the key is an API error.
    """

    access_key: str
    secret_key: str = attrs.field(repr=False)
    permissions: tuple[str, ...] = ("read",)
    ip_addresses: tuple[str, ...] = ()
    expired: bool = False


@attrs.frozen
class BalanceRow:
    """
    Row of a balance. Its texts are sent unchanged, and a field that is `None` is not sent.

    Attributes:
        currency: Currency in lower case.
        type: Row type, such as `"trade"`, `"frozen"` or `"loan"`.
        balance: Amount in units of the currency.
        debt: Sent by HTX, but documented as not valid.
        available: Sent by HTX, but documented as not valid.
        seq_num: Number of the last change.
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

    Attributes:
        id: Account id.
        type: HTX's account type, such as `"spot"`. The balance of an `"otc"` account is an API
            error, as at HTX.
        subtype: Symbol of an isolated margin account.
        state: `"working"` or `"lock"`.
        rows: Rows of the balance, in the order of the response.
    """

    id: int
    type: str
    subtype: str = ""
    state: str = "working"
    rows: tuple[BalanceRow, ...] = ()


@attrs.frozen
class PointsGroup:
    """
    Points that expire together.

    Attributes:
        group_id: Id of the group; 0 for termless points.
        expiry_date: Milliseconds since 1970-01-01 UTC; `None` for termless points.
        remain_amt: Number of points that are left, as text.
    """

    group_id: int
    expiry_date: int | None
    remain_amt: str


def _total(points: PointsAccount) -> str:
    # The start value gives the sum at least 8 decimal places, as in HTX's examples.
    with localcontext(prec=_PRECISION):
        amounts = (Decimal(group.remain_amt) for group in points.groups)
        return f"{sum(amounts, Decimal('0.00000000')):f}"


@attrs.frozen
class PointsAccount:
    """
    Points of a user.

    Attributes:
        account_id: Id of the point account, as text.
        groups: Groups of points.
        account_status: HTX's status, such as `"working"` or `"lock"`.
        acct_balance: All points, as text; by default the exact sum of the groups.
    """

    account_id: str = "14403739"
    groups: tuple[PointsGroup, ...] = ()
    account_status: str = "working"
    acct_balance: str = attrs.field(default=attrs.Factory(_total, takes_self=True))


@attrs.frozen
class Valuation:
    """
    Value of the accounts of one type.

    Attributes:
        account_type: HTX's account type, such as `"spot"`.
        currency: Unit of the value, in upper case.
        balance: Value as text, sent unchanged.
    """

    account_type: str
    currency: str
    balance: str


@attrs.frozen
class SandboxUser:
    """
    User of HTX.

    Attributes:
        uid: UID of the user.
        keys: API keys.
        accounts: Accounts, in the order of the response.
        points: Points.
        parent: UID of the parent user; `None`: the user is not a sub user.
        valuations: Values of accounts; a type without one has the value 0.
    """

    uid: int
    keys: tuple[APIKey, ...] = ()
    accounts: tuple[SandboxAccount, ...] = ()
    points: PointsAccount = PointsAccount()
    parent: int | None = None
    valuations: tuple[Valuation, ...] = ()
