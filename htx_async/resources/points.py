"""
`htx.points`: points, which pay HTX's fees.

HTX, "Get Point Balance":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec514e2-7773-11ed-9966-0242ac110003
HTX, "User deduction information query": in the section "Account" of the spot API.
HTX, "Deductible currency query information":
https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-18f7c4cea32
"""

from __future__ import annotations

from typing import Final

from htx_async.errors import DecodeError
from htx_async.models.deduction import DeductibleCurrencies, Deduction, SwitchInfo
from htx_async.models.points import PointBalance
from htx_async.models.wire_types import InvalidValueError
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from htx_async.resources.base import Resource
from htx_async.validation import numeric_id

BALANCE: Final = Endpoint(
    "/v2/point/account",
    RateLimit(2, per=1.0),  # "2times/s", HTX's page of it
    PointBalance,
)
SWITCHES: Final = Endpoint(
    "/v1/account/switch/user/info",
    RateLimit(5, per=1.0),  # "5 times/1s", HTX's page of it
    SwitchInfo,
)
CURRENCIES: Final = Endpoint(
    "/v1/account/overview/info",
    RateLimit(5, per=1.0),  # "5 times/1s", HTX's page of it
    DeductibleCurrencies,
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

    async def deduction(self) -> Deduction:
        """
        Return whether points or a currency pay the fees, and which currencies may.

        It sends two requests. Rate limit: 5 requests in 1 s for each. `Deductible currency query
        information
        <https://www.htx.com/en-us/opend/newApiPages/?id=8cb89359-77b5-11ed-9966-18f7c4cea32>`__.

        Raises:
            DecodeError: A switch is missing or malformed, under both names that HTX documents.
            HTXError: See `htx_async.errors`.
        """
        started_at = self._monotonic()
        switches = await self._request(SWITCHES, started_at=started_at)
        overview = await self._request(CURRENCIES, started_at=started_at)
        try:
            return switches.deduction(overview.currency)
        except InvalidValueError as error:
            path, fault = f"data.{error.path}", error.fault
        msg = f"the response cannot be decoded: {path} {fault}"
        raise DecodeError(msg, path=path, endpoint=SWITCHES.name)
