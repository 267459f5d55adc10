"""
`htx.points`: points, which pay HTX's fees.

HTX, "Get Point Balance":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec514e2-7773-11ed-9966-0242ac110003
"""

from __future__ import annotations

from typing import Final

from htx_async.models.points import PointBalance
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from htx_async.resources.base import Resource
from htx_async.validation import numeric_id

BALANCE: Final = Endpoint(
    "/v2/point/account",
    RateLimit(2, per=1.0),  # "2times/s", HTX's page of it
    PointBalance,
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
