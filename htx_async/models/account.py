"""Accounts of a user."""

from __future__ import annotations

import attrs

from htx_async.models.base import Model
from htx_async.models.enums import AccountState, AccountType
from htx_async.models.schema import wire

__all__ = ["Account"]


@attrs.frozen(repr=False)
class Account(Model):
    """
    One account of a user.

    Attributes:
        id: Account id, with which its balance is requested. The UID is another number.
        type: Purpose, such as `spot`.
        subtype: The symbol of an isolated margin account, the chain of a trust account, else "".
        state: `working` or `lock`.
    """

    id: int = attrs.field(metadata=wire("id"))
    type: AccountType = attrs.field(metadata=wire("type"))
    subtype: str = attrs.field(metadata=wire("subtype", default=""))
    state: AccountState = attrs.field(metadata=wire("state"))
