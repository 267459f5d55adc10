"""
`htx.users`: the user of the API key, the key itself, and the user's sub users.

HTX, "Get UID":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec52d6c-7773-11ed-9966-0242ac110003
HTX, "API key query":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec52c92-7773-11ed-9966-0242ac110003
HTX, "Get Sub User's List": in the section "Sub user management" of the spot API.
HTX, "Get Sub User's Account List":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec51da3-7773-11ed-9966-0242ac110003
HTX, "Get Account Balance of a Sub-User":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b62b-7773-11ed-9966-0242ac110003
HTX, "Get the Aggregated Balance of all Sub-users":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4fd28-7773-11ed-9966-0242ac110003
"""

from __future__ import annotations

from typing import Final

from htx_async import validation
from htx_async.errors import AccessKeyError, InvalidInputError
from htx_async.models.balance import SubUserBalance
from htx_async.models.position import Position
from htx_async.models.users import (
    AggregateBalance,
    APIKeyInfo,
    APIKeyRow,
    SubUser,
    SubUserAccounts,
)
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Page
from htx_async.resources.base import Resource
from htx_async.resources.movements import resumed_position
from htx_async.resources.paging import Listing, RecordIterator
from htx_async.resources.raw import DEFAULT_LIMIT
from htx_async.validation import numeric_id

UID: Final = Endpoint("/v2/user/uid", DEFAULT_LIMIT, int)
API_KEY: Final = Endpoint("/v2/user/api-key", DEFAULT_LIMIT, tuple[APIKeyRow, ...])
SUB_USERS: Final = Endpoint("/v2/sub-user/user-list", DEFAULT_LIMIT, Page[SubUser])
SUB_USER_ACCOUNTS: Final = Endpoint("/v2/sub-user/account-list", DEFAULT_LIMIT, SubUserAccounts)
# HTX's pages of those four state no limit.
SUB_USER_BALANCE: Final = Endpoint(
    "/v1/account/accounts/{sub-uid}",
    RateLimit(20, per=2.0),  # "20times/2s", HTX's page of it
    tuple[SubUserBalance, ...],
)
AGGREGATE_BALANCE: Final = Endpoint(
    "/v1/subuser/aggregate-balance",
    RateLimit(2, per=2.0),  # "2times/2s", HTX's page of it
    tuple[AggregateBalance, ...],
)


class Users(Resource):
    """The user of the API key, and its sub users."""

    async def uid(self) -> int:
        """
        Return the UID of the user.

        Rate limit: 10 requests in 1 s, HTX's rule where a page states none. `Get UID
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec52d6c-7773-11ed-9966-0242ac110003>`__.

        Raises:
            HTXError: See `htx_async.errors`.
        """
        return await self._request(UID)

    async def api_key(self, access_key: str | None = None) -> APIKeyInfo:
        """
        Return the permissions, the IP addresses and the days until expiry of an API key.

        So a program can check its own key when it starts. HTX responds to keys of parent users
        only. It sends two requests: the first one for the UID.

        Rate limit: 10 requests in 1 s, HTX's rule where a page states none. `API key query
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec52c92-7773-11ed-9966-0242ac110003>`__.

        Args:
            access_key: The access key of the same user; it is compared here, and not sent. `None`:
                the one that signs the requests of the client.

        Raises:
            InvalidInputError: *access_key* is malformed. Nothing was sent.
            AccessKeyError: The user has no such key.
            HTXError: See `htx_async.errors`.
        """
        problem = None if access_key is None else validation.key_problem(access_key, "access_key")
        if problem:
            del access_key  # a traceback shows it
            raise InvalidInputError(problem)
        started_at = self._monotonic()
        uid = await self._request(UID, started_at=started_at)
        params = (("uid", str(uid)),)
        for row in await self._request(API_KEY, params=params, started_at=started_at):
            is_own = access_key is None and self._is_own_key(row.access_key)
            if is_own or row.access_key == access_key:
                return row.info()
        del access_key
        msg = "HTX lists no such API key for this user"
        raise AccessKeyError(msg, endpoint=API_KEY.name)

    def sub_users(self, *, resume: Position | None = None) -> RecordIterator[SubUser]:
        """
        Return an iterator of the sub users, in the order of their UIDs.

        Rate limit: 10 requests in 1 s, HTX's rule where a page states none; a page has 100 sub
        users. HTX's page is "Get Sub User's List".

        Args:
            resume: The `position` of an earlier iterator, to continue with the sub user after it.

        Raises:
            InvalidInputError: *resume* is not a position of this list.
            HTXError: By the iterator: see `htx_async.errors`.
        """

        async def fetch(_: int | None, __: int, from_id: int | None) -> Page[SubUser]:
            params = () if from_id is None else (("fromId", str(from_id)),)
            return await self._request(SUB_USERS, params=params)

        listing: Listing[SubUser] = Listing(
            1, fetch, lambda sub_user: str(sub_user.uid), lambda sub_user: sub_user.uid
        )
        return RecordIterator(listing, resumed_position(resume, "sub_users"))

    async def sub_user_accounts(self, sub_uid: int | str) -> SubUserAccounts:
        """
        Return the accounts of a sub user.

        Rate limit: 10 requests in 1 s, HTX's rule where a page states none. `Get Sub User's Account
        List
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec51da3-7773-11ed-9966-0242ac110003>`__.

        Args:
            sub_uid: The UID of the sub user.

        Raises:
            InvalidInputError: *sub_uid* is not a whole number. Nothing was sent.
            HTXError: See `htx_async.errors`.
        """
        params = (("subUid", numeric_id(sub_uid, "sub_uid")),)
        return await self._request(SUB_USER_ACCOUNTS, params=params)

    async def sub_user_balance(self, sub_uid: int | str) -> tuple[SubUserBalance, ...]:
        """
        Return the balances of all accounts of a sub user.

        Rate limit: 20 requests in 2 s. `Get Account Balance of a Sub-User
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b62b-7773-11ed-9966-0242ac110003>`__.

        Args:
            sub_uid: The UID of the sub user. An account id is another number.

        Raises:
            InvalidInputError: *sub_uid* is not a whole number. Nothing was sent.
            HTXError: See `htx_async.errors`.
        """
        digits = numeric_id(sub_uid, "sub_uid")
        path = SUB_USER_BALANCE.path.replace("{sub-uid}", digits)
        return await self._request(SUB_USER_BALANCE, path=path)

    async def aggregate_balance(self) -> tuple[AggregateBalance, ...]:
        """
        Return the balances of all sub users together, by currency and type of account.

        Rate limit: 2 requests in 2 s. `Get the Aggregated Balance of all Sub-users
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4fd28-7773-11ed-9966-0242ac110003>`__.

        Raises:
            HTXError: See `htx_async.errors`.
        """
        return await self._request(AGGREGATE_BALANCE)
