"""HTX's account and balance types. The enums are open: an unknown value is kept as it is."""

from __future__ import annotations

import enum
import functools
from typing import Self, TypeVar

__all__ = [
    "APIKeyStatus",
    "AccountState",
    "AccountType",
    "BalanceType",
    "DepositWithdrawalState",
    "DepositWithdrawalType",
    "DistributionType",
    "Permission",
    "PointAccountStatus",
    "SubUserState",
    "TransactType",
    "TransferType",
]


E = TypeVar("E", bound="OpenStrEnum")

_CACHED_UNKNOWN, _CACHED_LENGTH = 1024, 64
"""Unknown values of which one instance is kept, and their length: a server may send any number."""


class OpenStrEnum(enum.StrEnum):
    """
    Enum of text that accepts every text: one that is not a member is kept, and not known.

    A value compares and hashes as its text.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        is_short = len(value) <= _CACHED_LENGTH
        return (_cached_unknown if is_short else _create_unknown)(cls, str(value))

    @property
    def is_known(self) -> bool:
        """Whether HTX's pages, or recorded responses, contain this value."""
        return type(self).__members__.get(self.name) is self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


def _create_unknown(cls: type[E], value: str) -> E:
    member = str.__new__(cls, value)
    member._name_ = member._value_ = value
    return member


@functools.lru_cache(_CACHED_UNKNOWN)
def _cached_unknown(cls: type[E], value: str) -> E:
    return _create_unknown(cls, value)


class AccountType(OpenStrEnum):
    """Purpose of an account."""

    SPOT = "spot"
    """Spot trading."""
    MARGIN = "margin"
    """Isolated margin; the account's `subtype` is the symbol."""
    SUPER_MARGIN = "super-margin"
    """Cross margin."""
    OTC = "otc"
    """Over-the-counter trading. HTX does not return its balance."""
    POINT = "point"
    """Points, which pay fees."""
    GRID_TRADING = "grid-trading"
    """Trading bots."""
    OTC_OPTIONS = "otc-options"
    """Over-the-counter options."""
    TRUST_CREDIT = "trust-credit"
    """A third-party trust account; the account's `subtype` is the chain."""
    INVESTMENT = "investment"
    """Investments. Named by HTX, without a description."""
    BORROW = "borrow"
    """Loans. Named by HTX, without a description."""
    MINEPOOL = "minepool"
    """Mining pool. Named by HTX, without a description."""
    ETF = "etf"
    """Exchange-traded funds. Named by HTX, without a description."""
    CROSS_MARGIN = "cross-margin"
    """Cross margin, in responses of the cross-margin endpoints."""
    DEPOSIT_EARNING = "deposit-earning"
    """Earn products. Named by HTX, without a description."""
    CRYPTO_LOANS = "crypto-loans"
    """Crypto loans. Named by HTX, without a description."""


class AccountState(OpenStrEnum):
    """Whether an account can be used."""

    WORKING = "working"
    """It can be used."""
    LOCK = "lock"
    """It is locked."""
    FL_SYS = "fl-sys"
    """Named by HTX, without a description; of margin accounts."""
    FL_END = "fl-end"
    """Named by HTX, without a description; of margin accounts."""
    FL_NEGATIVE = "fl-negative"
    """Named by HTX, without a description; of margin accounts."""


class BalanceType(OpenStrEnum):
    """Type of an amount in an account."""

    TRADE = "trade"
    """Available for orders, withdrawals and transfers."""
    FROZEN = "frozen"
    """Held by open orders."""
    LOAN = "loan"
    """Borrowed: an amount below zero, to be repaid."""
    INTEREST = "interest"
    """Interest: an amount below zero, to be repaid."""
    LOCK = "lock"
    """Locked. HTX does not document by what."""
    BANK = "bank"
    """Named by HTX, without a description."""
    CREDIT_REPAY = "credit-repay"
    """Of trust accounts. Named by HTX, without a description."""
    TRUST_ASSET = "trust-asset"
    """Of trust accounts. Named by HTX, without a description."""
    TRANSFER_OUT_AVAILABLE = "transfer-out-available"
    """What can be transferred out of a margin account; -1: all of `trade`."""
    LOAN_AVAILABLE = "loan-available"
    """What can be borrowed in a margin account."""
    LENDING = "lending"
    """Lending. Seen in responses, not documented by HTX."""


class PointAccountStatus(OpenStrEnum):
    """Whether a point account can be used."""

    WORKING = "working"
    """It can be used."""
    LOCK = "lock"
    """It is locked."""
    FL_SYS = "fl-sys"
    """Named by HTX, without a description."""
    FL_MGT = "fl-mgt"
    """Named by HTX, without a description."""
    FL_END = "fl-end"
    """Named by HTX, without a description."""
    FL_NEGATIVE = "fl-negative"
    """Named by HTX, without a description."""


class TransactType(OpenStrEnum):
    """Reason of a change in the history of an account."""

    TRADE = "trade"
    """A trade."""
    ETF = "etf"
    """Named by HTX, without a description."""
    TRANSACT_FEE = "transact-fee"
    """A trading fee."""
    FEE_DEDUCTION = "fee-deduction"
    """A fee that was paid in points or another currency."""
    TRANSFER = "transfer"
    """A transfer between accounts."""
    CREDIT = "credit"
    """Named by HTX, without a description."""
    LIQUIDATION = "liquidation"
    """A liquidation."""
    INTEREST = "interest"
    """Interest of a loan."""
    DEPOSIT = "deposit"
    """A deposit."""
    WITHDRAW = "withdraw"
    """A withdrawal."""
    WITHDRAW_FEE = "withdraw-fee"
    """The fee of a withdrawal."""
    EXCHANGE = "exchange"
    """Named by HTX, without a description."""
    OTHER_TYPES = "other-types"
    """Any other reason."""
    REBATE = "rebate"
    """A maker rebate that was paid; it may be that of several trades."""
    FIREBLOCKS_DW = "fireblocks-dw"
    """A deposit or withdrawal through Fireblocks."""


class TransferType(OpenStrEnum):
    """Between what a transfer in the ledger was made; `""` if it is not a transfer."""

    NONE = ""
    """Not a transfer."""
    OTC_TO_SPOT = "otc-to-spot"
    """From the OTC account to spot."""
    SPOT_TO_OTC = "spot-to-otc"
    """From spot to the OTC account."""
    FUTURES_TO_SPOT = "futures-to-spot"
    """From futures to spot."""
    SPOT_TO_FUTURES = "spot-to-futures"
    """From spot to futures."""
    DM_SWAP_TO_SPOT = "dm-swap-to-spot"
    """From coin-margined swaps to spot."""
    DM_SPOT_TO_SWAP = "dm-spot-to-swap"
    """From spot to coin-margined swaps."""
    SPOT_TO_LINEAR_SWAP = "spot-to-linear-swap"
    """From spot to linear swaps."""
    LINEAR_SWAP_TO_SPOT = "linear-swap-to-spot"
    """From linear swaps to spot."""
    MARGIN_TRANSFER_IN = "margin-transfer-in"
    """Into isolated margin."""
    MARGIN_TRANSFER_OUT = "margin-transfer-out"
    """Out of isolated margin."""
    LOCK_TRANSFER_IN = "lock-transfer-in"
    """Named by HTX, without a description."""
    LOCK_TRANSFER_OUT = "lock-transfer-out"
    """Named by HTX, without a description."""
    USER_LOCK_TRANSFER_IN = "user-lock-transfer-in"
    """Named by HTX, without a description."""
    USER_LOCK_TRANSFER_OUT = "user-lock-transfer-out"
    """Named by HTX, without a description."""
    MASTER_TRANSFER_IN = "master-transfer-in"
    """Named by HTX, without a description."""
    MASTER_TRANSFER_OUT = "master-transfer-out"
    """Named by HTX, without a description."""
    SUB_TRANSFER_IN = "sub-transfer-in"
    """Named by HTX, without a description."""
    SUB_TRANSFER_OUT = "sub-transfer-out"
    """Named by HTX, without a description."""
    AGENCY_TRANSFER_IN = "agency-transfer-in"
    """Named by HTX, without a description."""
    AGENCY_TRANSFER_OUT = "agency-transfer-out"
    """Named by HTX, without a description."""
    SPOT_TO_SUPER_MARGIN = "spot-to-super-margin"
    """From spot to cross margin."""
    SUPER_MARGIN_TO_SPOT = "super-margin-to-spot"
    """From cross margin to spot."""


class DepositWithdrawalType(OpenStrEnum):
    """Whether assets came from a chain, or went to one."""

    DEPOSIT = "deposit"
    """Assets came from a chain."""
    WITHDRAW = "withdraw"
    """Assets went to a chain."""


class DepositWithdrawalState(OpenStrEnum):
    """Progress of a deposit or of a withdrawal."""

    UNKNOWN = "unknown"
    """Deposit: the transfer on the chain was not received yet."""
    CONFIRMING = "confirming"
    """Deposit: the transfer has no confirmation yet."""
    CONFIRMED = "confirmed"
    """A deposit can be traded; a withdrawal is complete, with one confirmation."""
    SAFE = "safe"
    """A deposit can be withdrawn, too."""
    ORPHAN = "orphan"
    """Deposit: the transfer was confirmed, but is in an orphan branch now."""
    VERIFYING = "verifying"
    """Withdrawal: it awaits verification."""
    FAILED = "failed"
    """Withdrawal: the verification failed."""
    SUBMITTED = "submitted"
    """Withdrawal: it was submitted."""
    REEXAMINE = "reexamine"
    """Withdrawal: it is being examined."""
    CANCELED = "canceled"
    """Withdrawal: the user cancelled it."""
    PASS = "pass"  # noqa: S105 - not a secret
    """Withdrawal: the examination passed."""
    REJECT = "reject"
    """Withdrawal: the examination rejected it."""
    PRE_TRANSFER = "pre-transfer"
    """Withdrawal: it is about to be released."""
    WALLET_TRANSFER = "wallet-transfer"
    """Withdrawal: the transfer on the chain was started."""
    WALLET_REJECT = "wallet-reject"
    """Withdrawal: the chain rejected the transfer."""
    CONFIRM_ERROR = "confirm-error"
    """Withdrawal: the transfer got no confirmation."""
    REPEALED = "repealed"
    """Withdrawal: HTX terminated it."""
    RISK_ACTION_FAIL = "risk-action-fail"
    """Withdrawal: the risk control rejected it."""
    RISK_ACTION_TIMEOUT = "risk-action-timeout"
    """Withdrawal: the risk control timed out."""


class DistributionType(OpenStrEnum):
    """Accounts that a part of the platform valuation is of; HTX numbers them."""

    SPOT = "1"
    """Spot."""
    ISOLATED_MARGIN = "2"
    """Isolated margin."""
    CROSS_MARGIN = "3"
    """Cross margin."""
    COIN_FUTURES = "4"
    """Coin-margined futures."""
    FIAT = "5"
    """Fiat (OTC)."""
    MINEPOOL = "6"
    """Mining pool."""
    COIN_SWAPS = "7"
    """Coin-margined swaps."""
    INVESTMENT = "8"
    """Investment."""
    BORROW = "9"
    """Loans."""
    EARN = "10"
    """Earn products."""
    USDT_SWAPS = "11"
    """USDT-margined swaps."""
    OPTION = "12"
    """Options."""
    OTC_OPTIONS = "13"
    """Over-the-counter options."""
    CRYPTO_LOANS = "14"
    """Crypto loans."""
    GRID_TRADING = "15"
    """Trading bots."""
    MINEPOOL_16 = "16"
    """HTX's page calls both 6 and 16 "minepool"."""


class Permission(OpenStrEnum):
    """What an API key may do."""

    READ_ONLY = "readOnly"
    """It may read."""
    TRADE = "trade"
    """It may place orders and transfer."""
    WITHDRAW = "withdraw"
    """It may withdraw."""


class APIKeyStatus(OpenStrEnum):
    """Whether an API key is valid."""

    NORMAL = "normal"
    """The key is valid."""
    EXPIRED = "expired"
    """The key has expired."""


class SubUserState(OpenStrEnum):
    """Whether a sub user is locked."""

    NORMAL = "normal"
    """The sub user is not locked."""
    LOCK = "lock"
    """The sub user is locked."""
