"""Movements of assets: the history and the ledger of an account, deposits and withdrawals."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import attrs

from htx_async.models.base import Model
from htx_async.models.enums import (
    DepositWithdrawalState,
    DepositWithdrawalType,
    TransactType,
    TransferType,
)
from htx_async.models.schema import wire

__all__ = ["DepositWithdrawal", "HistoryRecord", "LedgerRecord"]


@attrs.frozen(repr=False)
class HistoryRecord(Model):
    """
    One change of a balance.

    Attributes:
        account_id: Account id.
        currency: Currency, such as `usdt`.
        record_id: Identifies the change. Ids are not in the order of time.
        transact_amt: The change: above 0 if the account received it, below 0 if it paid it.
        transact_type: Its reason, such as `trade` or `transfer`.
        avail_balance: Amount that was available after the change.
        acct_balance: Balance after the change.
        transact_time: When the change was made, in UTC.
    """

    account_id: int = attrs.field(metadata=wire("account-id"))
    currency: str = attrs.field(metadata=wire("currency"))
    record_id: int = attrs.field(metadata=wire("record-id"))
    transact_amt: Decimal = attrs.field(metadata=wire("transact-amt"))
    transact_type: TransactType = attrs.field(metadata=wire("transact-type"))
    avail_balance: Decimal = attrs.field(metadata=wire("avail-balance"))
    acct_balance: Decimal = attrs.field(metadata=wire("acct-balance"))
    transact_time: datetime = attrs.field(metadata=wire("transact-time"))


@attrs.frozen(repr=False)
class LedgerRecord(Model):
    """
    One transfer from or to an account. The other account has a record of its own.

    Attributes:
        account_id: Account id.
        currency: Currency, such as `usdt`.
        transact_amt: Amount: above 0 if the account received it, below 0 if it paid it.
        transact_type: `transfer`: the ledger has no other type yet.
        transfer_type: Between what the transfer was made, such as `spot-to-futures`.
        transact_id: Identifies the transfer; HTX's example has 0 in all records.
        transact_time: When the transfer was made, in UTC.
        transferer: Account that paid; `None` if HTX did not send it.
        transferee: Account that received; `None` if HTX did not send it.
    """

    account_id: int = attrs.field(metadata=wire("accountId"))
    currency: str = attrs.field(metadata=wire("currency"))
    transact_amt: Decimal = attrs.field(metadata=wire("transactAmt"))
    transact_type: TransactType = attrs.field(metadata=wire("transactType"))
    transfer_type: TransferType = attrs.field(
        metadata=wire("transferType", default=TransferType.NONE)
    )
    transact_id: int = attrs.field(metadata=wire("transactId"))
    transact_time: datetime = attrs.field(metadata=wire("transactTime"))
    transferer: int | None = attrs.field(metadata=wire("transferer", default=None))
    transferee: int | None = attrs.field(metadata=wire("transferee", default=None))


@attrs.frozen(repr=False)
class DepositWithdrawal(Model):
    """
    A deposit or a withdrawal, with its latest state.

    Attributes:
        id: Identifies it.
        type: `deposit` or `withdraw`.
        sub_type: `NORMAL` or `FAST`; "" if HTX did not send it.
        currency: Currency, such as `usdt`.
        tx_hash: Hash of the transaction on the chain; "" for a fast withdrawal.
        chain: Name of the chain, such as `trc20usdt`.
        amount: Amount, exactly as HTX writes it, in units of the currency.
        from_addr_tag: Tag of the sender's address, else "".
        address: Address that received it.
        address_tag: Tag of that address, else "".
        fee: Fee of a withdrawal; `None` if HTX did not send it.
        state: Progress, such as `safe` or `confirmed`.
        error_code: Why a withdrawal failed, else "".
        error_msg: Why a withdrawal failed, in words, else "".
        created_at: When it was created, in UTC.
        updated_at: When its state last changed, in UTC; `None` if HTX did not send it.
    """

    id: int = attrs.field(metadata=wire("id"))
    type: DepositWithdrawalType = attrs.field(metadata=wire("type"))
    sub_type: str = attrs.field(metadata=wire("sub-type", default=""))
    currency: str = attrs.field(metadata=wire("currency"))
    tx_hash: str = attrs.field(metadata=wire("tx-hash", default=""))
    chain: str = attrs.field(metadata=wire("chain", default=""))
    amount: Decimal = attrs.field(metadata=wire("amount"))
    from_addr_tag: str = attrs.field(metadata=wire("from-addr-tag", default=""))
    address: str = attrs.field(metadata=wire("address", default=""))
    address_tag: str = attrs.field(metadata=wire("address-tag", default=""))
    fee: Decimal | None = attrs.field(metadata=wire("fee", default=None))
    state: DepositWithdrawalState = attrs.field(metadata=wire("state"))
    error_code: str = attrs.field(metadata=wire("error-code", default=""))
    error_msg: str = attrs.field(metadata=wire("error-msg", default=""))
    created_at: datetime = attrs.field(metadata=wire("created-at"))
    updated_at: datetime | None = attrs.field(metadata=wire("updated-at", default=None))
