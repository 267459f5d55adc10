"""HTX's account and balance types. The enums are open: an unknown value is kept as it is."""

from __future__ import annotations

import enum
import functools
from typing import Self, TypeVar

__all__ = ["AccountState", "AccountType", "BalanceType", "PointAccountStatus"]


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
