"""What the points ask, and what they make of the answers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from htx_async import InvalidInputError, PointAccountStatus, PointGroup, Points
from htx_async.resources import points
from tests.resources.canned import Canned

BALANCE = '{"accountId":"14403739","acctBalance":"0.30000000","accountStatus":"working"}'


def test_the_limit_is_that_of_htx_page() -> None:
    """Two in a second."""
    assert (points.BALANCE.limit.requests, points.BALANCE.limit.per) == (2, 1.0)
    assert points.BALANCE.name == "GET /v2/point/account"
    assert points.BALANCE.signed


async def test_ones_own_points_are_asked_without_parameters() -> None:
    """And come as a model."""
    ask = Canned([BALANCE])
    balance = await Points(ask).balance()
    assert ask.asked == [("GET /v2/point/account", ())]
    assert (balance.account_id, balance.account_status) == (14403739, PointAccountStatus.WORKING)
    assert str(balance.acct_balance) == "0.30000000"
    assert balance.group_ids == ()


@pytest.mark.parametrize("sub_uid", [123, "123"])
async def test_a_sub_user_is_asked_for_by_uid(sub_uid: int | str) -> None:
    """`subUid`, as HTX's page writes it."""
    ask = Canned([BALANCE])
    await Points(ask).balance(sub_uid=sub_uid)
    assert ask.asked == [("GET /v2/point/account", (("subUid", "123"),))]


async def test_a_sub_user_of_number_zero_is_one() -> None:
    """0 is not `None`."""
    ask = Canned([BALANCE])
    await Points(ask).balance(sub_uid=0)
    assert ask.asked[0][1] == (("subUid", "0"),)


@pytest.mark.parametrize("sub_uid", ["", "x", -1, True, 1.5, "1&accountId=2"])
async def test_what_is_no_uid_is_not_sent(sub_uid: Any) -> None:
    """One sentence, and nothing leaves."""
    ask = Canned([])
    with pytest.raises(InvalidInputError, match=r"^sub_uid must be"):
        await Points(ask).balance(sub_uid=sub_uid)
    assert ask.asked == []


def test_termless_points_have_no_number() -> None:
    """HTX's page: group 0 is termless."""
    assert PointGroup(0, None, Decimal(1)).is_termless
    assert not PointGroup(26, None, Decimal(1)).is_termless
