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
    MARGIN = "margin"
    """Isolated margin; the account's `subtype` is the symbol."""
    SUPER_MARGIN = "super-margin"
    """Cross margin."""
    OTC = "otc"
    POINT = "point"
    GRID_TRADING = "grid-trading"
    OTC_OPTIONS = "otc-options"
    TRUST_CREDIT = "trust-credit"
    """A third-party trust account; the account's `subtype` is the chain."""
    INVESTMENT = "investment"
    BORROW = "borrow"
    MINEPOOL = "minepool"
    ETF = "etf"
    CROSS_MARGIN = "cross-margin"
    DEPOSIT_EARNING = "deposit-earning"
    CRYPTO_LOANS = "crypto-loans"


class AccountState(OpenStrEnum):
    """Whether an account can be used."""

    WORKING = "working"
    LOCK = "lock"
    FL_SYS = "fl-sys"
    FL_END = "fl-end"
    FL_NEGATIVE = "fl-negative"


class BalanceType(OpenStrEnum):
    """Type of an amount in an account."""

    TRADE = "trade"
    """Free to be used."""
    FROZEN = "frozen"
    """Held by open orders."""
    LOAN = "loan"
    """An amount below zero, to be repaid."""
    INTEREST = "interest"
    """An amount below zero, to be repaid."""
    LOCK = "lock"
    BANK = "bank"
    CREDIT_REPAY = "credit-repay"
    TRUST_ASSET = "trust-asset"
    TRANSFER_OUT_AVAILABLE = "transfer-out-available"
    LOAN_AVAILABLE = "loan-available"
    LENDING = "lending"


class PointAccountStatus(OpenStrEnum):
    """Whether a point account can be used."""

    WORKING = "working"
    LOCK = "lock"
    FL_SYS = "fl-sys"
    FL_MGT = "fl-mgt"
    FL_END = "fl-end"
    FL_NEGATIVE = "fl-negative"


class TransactType(OpenStrEnum):
    """Reason of a change in the history of an account."""

    TRADE = "trade"
    ETF = "etf"
    TRANSACT_FEE = "transact-fee"
    FEE_DEDUCTION = "fee-deduction"
    TRANSFER = "transfer"
    CREDIT = "credit"
    LIQUIDATION = "liquidation"
    INTEREST = "interest"
    DEPOSIT = "deposit"
    WITHDRAW = "withdraw"
    WITHDRAW_FEE = "withdraw-fee"
    EXCHANGE = "exchange"
    OTHER_TYPES = "other-types"
    REBATE = "rebate"
    """A maker rebate that was paid; it may be that of several trades."""
    FIREBLOCKS_DW = "fireblocks-dw"


class TransferType(OpenStrEnum):
    """Between what a transfer in the ledger was made; `""` if it is not a transfer."""

    NONE = ""
    OTC_TO_SPOT = "otc-to-spot"
    SPOT_TO_OTC = "spot-to-otc"
    FUTURES_TO_SPOT = "futures-to-spot"
    SPOT_TO_FUTURES = "spot-to-futures"
    DM_SWAP_TO_SPOT = "dm-swap-to-spot"
    DM_SPOT_TO_SWAP = "dm-spot-to-swap"
    SPOT_TO_LINEAR_SWAP = "spot-to-linear-swap"
    LINEAR_SWAP_TO_SPOT = "linear-swap-to-spot"
    MARGIN_TRANSFER_IN = "margin-transfer-in"
    MARGIN_TRANSFER_OUT = "margin-transfer-out"
    LOCK_TRANSFER_IN = "lock-transfer-in"
    LOCK_TRANSFER_OUT = "lock-transfer-out"
    USER_LOCK_TRANSFER_IN = "user-lock-transfer-in"
    USER_LOCK_TRANSFER_OUT = "user-lock-transfer-out"
    MASTER_TRANSFER_IN = "master-transfer-in"
    MASTER_TRANSFER_OUT = "master-transfer-out"
    SUB_TRANSFER_IN = "sub-transfer-in"
    SUB_TRANSFER_OUT = "sub-transfer-out"
    AGENCY_TRANSFER_IN = "agency-transfer-in"
    AGENCY_TRANSFER_OUT = "agency-transfer-out"
    SPOT_TO_SUPER_MARGIN = "spot-to-super-margin"
    SUPER_MARGIN_TO_SPOT = "super-margin-to-spot"


class DepositWithdrawalType(OpenStrEnum):
    """Whether assets came from a chain, or went to one."""

    DEPOSIT = "deposit"
    WITHDRAW = "withdraw"


class DepositWithdrawalState(OpenStrEnum):
    """Progress of a deposit or of a withdrawal."""

    UNKNOWN = "unknown"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    """A deposit can be traded; a withdrawal is complete, with one confirmation."""
    SAFE = "safe"
    """A deposit can be withdrawn, too."""
    ORPHAN = "orphan"
    VERIFYING = "verifying"
    FAILED = "failed"
    SUBMITTED = "submitted"
    REEXAMINE = "reexamine"
    CANCELED = "canceled"
    PASS = "pass"  # noqa: S105 - a withdrawal that passed its validation
    REJECT = "reject"
    PRE_TRANSFER = "pre-transfer"
    WALLET_TRANSFER = "wallet-transfer"
    WALLET_REJECT = "wallet-reject"
    CONFIRM_ERROR = "confirm-error"
    REPEALED = "repealed"
    RISK_ACTION_FAIL = "risk-action-fail"
    RISK_ACTION_TIMEOUT = "risk-action-timeout"


class DistributionType(OpenStrEnum):
    """Accounts that a part of the platform valuation is of; HTX numbers them."""

    SPOT = "1"
    ISOLATED_MARGIN = "2"
    CROSS_MARGIN = "3"
    COIN_FUTURES = "4"
    FIAT = "5"
    MINEPOOL = "6"
    COIN_SWAPS = "7"
    INVESTMENT = "8"
    BORROW = "9"
    EARN = "10"
    USDT_SWAPS = "11"
    OPTION = "12"
    OTC_OPTIONS = "13"
    CRYPTO_LOANS = "14"
    GRID_TRADING = "15"
    MINEPOOL_16 = "16"
    """HTX's page calls both 6 and 16 "minepool"."""


class Permission(OpenStrEnum):
    """What an API key may do."""

    READ_ONLY = "readOnly"
    TRADE = "trade"
    WITHDRAW = "withdraw"


class APIKeyStatus(OpenStrEnum):
    """Whether an API key is valid."""

    NORMAL = "normal"
    EXPIRED = "expired"


class SubUserState(OpenStrEnum):
    """Whether a sub user is locked."""

    NORMAL = "normal"
    LOCK = "lock"
