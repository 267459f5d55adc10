"""Users of the sandbox, with their API keys, accounts, points, valuations and movements."""

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
        valid_days: Days until it expires, as HTX reports them; -1: it does not expire.
        note: Name of the key.
    """

    access_key: str
    secret_key: str = attrs.field(repr=False)
    permissions: tuple[str, ...] = ("read",)
    ip_addresses: tuple[str, ...] = ()
    expired: bool = False
    valid_days: int = 90
    note: str = ""


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
class HistoryRow:
    """
    Change of a balance, in the history of an account.

    Attributes:
        account_id: Account id.
        record_id: Id of the record.
        currency: Currency in lower case.
        transact_amt: The change as text, in units of the currency; below 0 if the account paid it.
        transact_type: Reason as HTX names it, such as `"trade"`, `"transfer"` or `"deposit"`.
        transact_time: Milliseconds since 1970-01-01 UTC.
        avail_balance: Available amount after the change, as text.
        acct_balance: Balance after the change, as text.
    """

    account_id: int
    record_id: int
    currency: str
    transact_amt: str
    transact_type: str
    transact_time: int
    avail_balance: str = "0"
    acct_balance: str = "0"


@attrs.frozen
class LedgerRow:
    """
    Transfer, in the ledger of one of its two accounts.

    Attributes:
        account_id: Account id.
        currency: Currency in lower case.
        transact_amt: Amount as text, sent as a JSON number; below 0 if the account paid it.
        transfer_type: Direction as HTX names it, such as `"spot-to-futures"`.
        transact_id: Id of the transfer.
        transact_time: Milliseconds since 1970-01-01 UTC.
        transferer: Id of the account that paid.
        transferee: Id of the account that received.
        transact_type: HTX knows `"transfer"` only.
    """

    account_id: int
    currency: str
    transact_amt: str
    transfer_type: str
    transact_id: int
    transact_time: int
    transferer: int
    transferee: int
    transact_type: str = "transfer"


@attrs.frozen
class DepositWithdrawalRow:
    """
    Deposit or withdrawal.

    Attributes:
        id: Id of the record.
        type: `"deposit"` or `"withdraw"`.
        currency: Currency in lower case.
        amount: Amount as text, sent as a JSON number.
        created_at: Time of the creation and of the last update, in milliseconds since 1970-01-01
            UTC.
        state: Progress as HTX names it, such as `"safe"` or `"confirmed"`.
        chain: Name of the chain, such as `"trc20usdt"`.
        address: Address that received it.
        fee: Fee as text, sent as a JSON number.
        tx_hash: Hash of the transaction on the chain.
        sub_type: `"NORMAL"` or `"FAST"`.
    """

    id: int
    type: str
    currency: str
    amount: str
    created_at: int
    state: str = "confirmed"
    chain: str = ""
    address: str = ""
    fee: str = "0"
    tx_hash: str = ""
    sub_type: str = "NORMAL"


@attrs.frozen
class DeductionSetting:
    """
    How a user pays fees.

    Attributes:
        points: Whether points pay the fees.
        currency: Currency that pays the fees; `"0"`: none is set.
        currencies: Currencies that may be set.
    """

    points: bool = False
    currency: str = "0"
    currencies: tuple[str, ...] = ("HTX", "TRX")


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
        deduction: How fees are paid.
        history: Rows of the history of all accounts, in any order.
        ledger: Rows of the ledger of all accounts, in any order.
        deposits_withdrawals: Deposits and withdrawals, in any order.
        state: `"normal"` or `"lock"`, of a sub user.
        name: Name of a sub user.
        has_examples: Whether history and ledger also contain examples, at any time.
    """

    uid: int
    keys: tuple[APIKey, ...] = ()
    accounts: tuple[SandboxAccount, ...] = ()
    points: PointsAccount = PointsAccount()
    parent: int | None = None
    valuations: tuple[Valuation, ...] = ()
    history: tuple[HistoryRow, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    deposits_withdrawals: tuple[DepositWithdrawalRow, ...] = ()
    deduction: DeductionSetting = DeductionSetting()
    state: str = "normal"
    name: str = ""
    has_examples: bool = False
