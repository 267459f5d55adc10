"""
`htx.points`: points, which pay HTX's fees.

HTX, "Get Point Balance":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec514e2-7773-11ed-9966-0242ac110003
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

import attrs

from htx_async.models.base import Model
from htx_async.models.decoding import reader, wire
from htx_async.models.enums import PointAccountStatus
from htx_async.models.shapes import shape_of
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from htx_async.resources.base import Resource
from htx_async.validation import numeric_id


@attrs.frozen(repr=False)
class PointGroup(Model):
    """
    Points that expire together.

    Attributes:
        group_id: The transaction in which they were bought; 0 for termless points.
        expiry_date: When they expire, in UTC; `None` for termless points.
        remain_amt: How many are left.
    """

    group_id: int = wire("groupId")
    expiry_date: datetime | None = wire("expiryDate", absent=None)
    remain_amt: Decimal = wire("remainAmt")

    @property
    def is_termless(self) -> bool:
        """Whether these points never expire."""
        return self.group_id == 0


@attrs.frozen(repr=False)
class PointBalance(Model):
    """
    The points of a user.

    Attributes:
        account_id: The id of the point account.
        account_status: Whether it can be used.
        acct_balance: All points together.
        group_ids: What HTX calls `groupIds`: the groups that the points are in.
    """

    account_id: int = wire("accountId")
    account_status: PointAccountStatus = wire("accountStatus")
    acct_balance: Decimal = wire("acctBalance")
    group_ids: tuple[PointGroup, ...] = wire("groupIds", absent=(), default=())


BALANCE: Final = Endpoint[PointBalance](
    "/v2/point/account",
    RateLimit(2, per=1.0),  # "2times/s", HTX's page of it
    reader(PointBalance),
    shape=shape_of(PointBalance),
)


class Points(Resource):
    """The points of a user, or of a sub user."""

    async def balance(self, *, sub_uid: int | str | None = None) -> PointBalance:
        """
        Return the point balance.

        Rate limit: 2 requests in 1 s. `Get Point Balance
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec514e2-7773-11ed-9966-0242ac110003>`__.

        Args:
            sub_uid: The UID of a sub user, if its parent requests the points; `None`: the user's
                own.

        Raises:
            InvalidInputError: *sub_uid* is not a whole number. Nothing was sent.
            HTXError: See `htx_async.errors`.
        """
        params = () if sub_uid is None else (("subUid", numeric_id(sub_uid, "sub_uid")),)
        return await self._request(BALANCE, params=params)
