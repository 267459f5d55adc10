"""API keys, and the sub users of a user."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import attrs

from htx_async.models.base import Model
from htx_async.models.deduction import split_list
from htx_async.models.enums import (
    AccountType,
    APIKeyStatus,
    Permission,
    SubUserState,
)
from htx_async.models.schema import wire

__all__ = [
    "APIKeyInfo",
    "AggregateBalance",
    "SubUser",
    "SubUserAccount",
    "SubUserAccountId",
    "SubUserAccounts",
]


@attrs.frozen(repr=False)
class APIKeyInfo(Model):
    """
    What an API key may do, from where, and until when. The key itself is not part of it.

    Attributes:
        note: The note of the key.
        status: `normal` or `expired`.
        permission: What the key may do: `readOnly`, `trade`, `withdraw`.
        ip_addresses: IP addresses that may use the key; empty: all.
        valid_days: Days until it expires; `None`: it does not expire.
        create_time: When it was created, in UTC; `None` if HTX did not send it.
        update_time: When it was last changed, in UTC; `None` if HTX did not send it.
    """

    note: str
    status: APIKeyStatus
    permission: tuple[Permission, ...]
    ip_addresses: tuple[str, ...]
    valid_days: int | None
    create_time: datetime | None
    update_time: datetime | None


@attrs.frozen(repr=False)
class APIKeyRow(Model):
    """One key in HTX's response. It contains the access key: it is not public."""

    access_key: str = attrs.field(metadata=wire("accessKey"))
    note: str = attrs.field(metadata=wire("note", default=""))
    status: APIKeyStatus = attrs.field(metadata=wire("status", default=APIKeyStatus.NORMAL))
    permission: str = attrs.field(metadata=wire("permission"))
    ip_addresses: str = attrs.field(metadata=wire("ipAddresses", default=""))
    valid_days: Decimal = attrs.field(metadata=wire("validDays"))  # -1: it does not expire
    create_time: datetime | None = attrs.field(metadata=wire("createTime", default=None))
    update_time: datetime | None = attrs.field(metadata=wire("updateTime", default=None))

    def info(self) -> APIKeyInfo:
        """Return what is public of it."""
        return APIKeyInfo(
            self.note,
            self.status,
            tuple(map(Permission, split_list(self.permission))),
            split_list(self.ip_addresses),
            int(self.valid_days) if self.valid_days >= 0 else None,
            self.create_time,
            self.update_time,
        )

    def __repr__(self) -> str:
        return "APIKeyRow(...)"  # a traceback shows it


@attrs.frozen(repr=False)
class SubUser(Model):
    """
    A sub user.

    Attributes:
        uid: UID.
        user_state: `normal` or `lock`.
        sub_user_name: Name; "" if HTX did not send it.
        note: Note; "" if HTX did not send it.
    """

    uid: int = attrs.field(metadata=wire("uid"))
    user_state: SubUserState = attrs.field(metadata=wire("userState"))
    sub_user_name: str = attrs.field(metadata=wire("subUserName", default=""))
    note: str = attrs.field(metadata=wire("note", default=""))


@attrs.frozen(repr=False)
class SubUserAccountId(Model):
    """
    One account of a sub user.

    Attributes:
        account_id: Account id.
        sub_type: The symbol of an isolated margin account, else "".
        account_status: `normal` or `locked`.
    """

    account_id: int = attrs.field(metadata=wire("accountId"))
    sub_type: str = attrs.field(metadata=wire("subType", default=""))
    account_status: str = attrs.field(metadata=wire("accountStatus", default=""))


@attrs.frozen(repr=False)
class SubUserAccount(Model):
    """
    The accounts of one type of a sub user.

    Attributes:
        account_type: `spot`, `isolated-margin` or `cross-margin`.
        activation: `activated` or `deactivated`.
        transferrable: Whether the sub user may transfer assets; `None`: HTX sends it for spot only.
        account_ids: The accounts. HTX omits them if there are none.
    """

    account_type: str = attrs.field(metadata=wire("accountType"))
    activation: str = attrs.field(metadata=wire("activation", default=""))
    transferrable: bool | None = attrs.field(metadata=wire("transferrable", default=None))
    account_ids: tuple[SubUserAccountId, ...] = attrs.field(metadata=wire("accountIds", default=()))


@attrs.frozen(repr=False)
class SubUserAccounts(Model):
    """
    All accounts of a sub user, by type.

    Attributes:
        uid: UID of the sub user.
        deduct_mode: Which user pays its fees, such as `sub`; "" if HTX did not send it.
        list: An item for each type of account.
    """

    uid: int = attrs.field(metadata=wire("uid"))
    deduct_mode: str = attrs.field(metadata=wire("deductMode", default=""))
    list: tuple[SubUserAccount, ...] = attrs.field(metadata=wire("list"))


@attrs.frozen(repr=False)
class AggregateBalance(Model):
    """
    Amount of a currency in all accounts of one type of all sub users.

    Attributes:
        currency: Currency, such as `usdt`.
        type: Type of the accounts.
        balance: The amount, with what open orders hold.
    """

    currency: str = attrs.field(metadata=wire("currency"))
    type: AccountType = attrs.field(metadata=wire("type"))
    balance: Decimal = attrs.field(metadata=wire("balance"))
