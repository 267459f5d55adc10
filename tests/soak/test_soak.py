"""What the soak counts as wrong."""

from __future__ import annotations

from decimal import Decimal

import attrs
import pytest

from htx_async import AccountBalance, BalanceEntry, BalanceType, DecodeError, PointBalance
from htx_async.models.enums import AccountState, AccountType, PointAccountStatus
from tests.soak.__main__ import Tally, split

NUMBER = 7
BALANCE = AccountBalance(
    id=1,
    type=AccountType.SPOT,
    state=AccountState.WORKING,
    entries=(BalanceEntry("usdt", BalanceType.TRADE, Decimal(1), seq_num=NUMBER),),
)
POINTS = PointBalance(
    account_id=NUMBER, account_status=PointAccountStatus.WORKING, acct_balance=Decimal(2)
)
EXPECTED, _ = split(BALANCE)


@pytest.mark.parametrize("result", [BALANCE, POINTS])
def test_wrong_responses_are_values_of_another_request(result: object) -> None:
    tally = Tally()
    tally.result(result, EXPECTED, NUMBER - 1)
    assert tally.wrong == (result is POINTS)
    assert tally.newest == NUMBER


@pytest.mark.parametrize("result", [BALANCE, POINTS])
def test_wrong_responses_are_those_that_were_received_before_the_call(result: object) -> None:
    tally = Tally()
    tally.result(result, split(result)[0], NUMBER)
    assert tally.wrong == 1


@pytest.mark.parametrize(("path", "wrong"), [("data.id", 1), ("data", 0)])
def test_wrong_responses_are_those_that_the_client_rejects_by_their_id(
    path: str, wrong: int
) -> None:
    tally = Tally()
    tally.error(DecodeError("another account", path=path))
    assert tally.wrong == wrong


def test_split_ignores_the_number_only() -> None:
    later = attrs.evolve(POINTS, account_id=NUMBER + 1)
    assert split(later) == (split(POINTS)[0], NUMBER + 1)
    assert split(attrs.evolve(POINTS, acct_balance=Decimal(3)))[0] != split(POINTS)[0]
