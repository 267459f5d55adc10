"""`Points`: requests and decoded models."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from htx_async import InvalidInputError, PointAccountStatus, PointGroup, Points
from htx_async.resources import points
from tests.resources.canned import CannedResponses

BALANCE = '{"accountId":"14403739","acctBalance":"0.30000000","accountStatus":"working"}'


def test_endpoint_has_the_documented_rate_limit() -> None:
    """2 requests per second."""
    assert (points.BALANCE.limit.requests, points.BALANCE.limit.per) == (2, 1.0)
    assert points.BALANCE.name == "GET /v2/point/account"
    assert points.BALANCE.signed


async def test_balance_of_the_own_user_sends_no_parameters() -> None:
    canned = CannedResponses([BALANCE])
    balance = await Points(canned).balance()
    assert canned.requests == [("GET /v2/point/account", ())]
    assert (balance.account_id, balance.account_status) == (14403739, PointAccountStatus.WORKING)
    assert str(balance.acct_balance) == "0.30000000"
    assert balance.group_ids == ()


@pytest.mark.parametrize("sub_uid", [123, "123"])
async def test_balance_of_a_sub_user_sends_its_uid(sub_uid: int | str) -> None:
    """The parameter is `subUid`."""
    canned = CannedResponses([BALANCE])
    await Points(canned).balance(sub_uid=sub_uid)
    assert canned.requests == [("GET /v2/point/account", (("subUid", "123"),))]


async def test_balance_accepts_sub_uid_zero() -> None:
    """0 is sent; only `None` is omitted."""
    canned = CannedResponses([BALANCE])
    await Points(canned).balance(sub_uid=0)
    assert canned.requests[0][1] == (("subUid", "0"),)


@pytest.mark.parametrize("sub_uid", ["", "x", -1, True, 1.5, "1&accountId=2"])
async def test_balance_rejects_invalid_sub_uids(sub_uid: Any) -> None:
    """Nothing is sent."""
    canned = CannedResponses([])
    with pytest.raises(InvalidInputError, match=r"^sub_uid must be"):
        await Points(canned).balance(sub_uid=sub_uid)
    assert canned.requests == []


def test_point_group_zero_is_termless() -> None:
    """HTX documents group 0 as termless."""
    assert PointGroup(0, None, Decimal(1)).is_termless
    assert not PointGroup(26, None, Decimal(1)).is_termless
