"""
Points, with which HTX's fees can be paid.

HTX, "Get Point Balance":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec514e2-7773-11ed-9966-0242ac110003
"""

from __future__ import annotations

from typing import Final

from htx_async import validation
from htx_async.models.points import PointBalance
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from htx_async.resources.base import Ask

BALANCE: Final = Endpoint(
    "/v2/point/account",
    RateLimit(2, per=1.0),  # "2times/s", HTX's page of it
    PointBalance,
)


class Points:
    """The points of a user, or of a sub user."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def balance(self, *, sub_uid: int | str | None = None) -> PointBalance:
        """
        Return the point balance.

        HTX allows 2 reads in 1 s: `Get Point Balance
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec514e2-7773-11ed-9966-0242ac110003>`__.

        Args:
            sub_uid: The UID of a sub user whose points its parent asks for; `None`: one's own.

        Raises:
            InvalidInputError: *sub_uid* is no whole number.
            HTXError: What else can go wrong: see `htx_async.errors`.
        """
        params = () if sub_uid is None else (("subUid", validation.numeric_id(sub_uid, "sub_uid")),)
        return await self._ask(BALANCE, params=params)
