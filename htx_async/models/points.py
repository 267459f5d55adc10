"""Points, which pay HTX's fees."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import attrs

from htx_async.models.base import Model
from htx_async.models.enums import PointAccountStatus
from htx_async.models.schema import wire

__all__ = ["PointBalance", "PointGroup"]


@attrs.frozen(repr=False)
class PointGroup(Model):
    """
    Points that expire together.

    Attributes:
        group_id: The transaction in which they were bought; 0 for termless points.
        expiry_date: When they expire, in UTC; `None` for termless points.
        remain_amt: Number of points that are left.
    """

    group_id: int = attrs.field(metadata=wire("groupId"))
    expiry_date: datetime | None = attrs.field(metadata=wire("expiryDate", default=None))
    remain_amt: Decimal = attrs.field(metadata=wire("remainAmt"))

    @property
    def is_termless(self) -> bool:
        """Whether these points never expire."""
        return self.group_id == 0


@attrs.frozen(repr=False)
class PointBalance(Model):
    """
    The points of a user.

    Attributes:
        account_id: Id of the point account.
        account_status: Whether it can be used.
        acct_balance: Sum of all points: termless, and of all groups that expire.
        group_ids: The groups that the points are in; HTX calls them `groupIds`.
        received_at: When the response arrived, in UTC by the client's clock; not part of `==`.
            `None`: the model is not from a response.
    """

    account_id: int = attrs.field(metadata=wire("accountId"))
    account_status: PointAccountStatus = attrs.field(metadata=wire("accountStatus"))
    acct_balance: Decimal = attrs.field(metadata=wire("acctBalance"))
    group_ids: tuple[PointGroup, ...] = attrs.field(
        default=(), metadata=wire("groupIds", default=())
    )
    received_at: datetime | None = attrs.field(
        default=None, eq=False, kw_only=True, metadata=wire(None)
    )
