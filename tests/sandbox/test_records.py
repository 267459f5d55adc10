"""The values that a world is made of."""

from __future__ import annotations

from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.sandbox import APIKey, PointsAccount, PointsGroup, SandboxAccount, SandboxUser

AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)


def test_a_secret_is_never_shown() -> None:
    """Not by the key, nor by the user who has it."""
    key = APIKey("access", "hush-hush")
    assert "hush-hush" not in repr(key)
    assert "hush-hush" not in repr(SandboxUser(1, (key,)))


def test_values_are_frozen() -> None:
    """A world does not change under a running sandbox."""
    account = SandboxAccount(1, "spot")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        account.state = "lock"  # type: ignore[misc]


def test_the_balance_of_points_is_the_exact_sum() -> None:
    """With 8 places at least, as in HTX's example; a balance that is told is kept."""
    seed = (PointsGroup(26, 1594396800000, "0.3"),)
    assert PointsAccount(groups=seed).acct_balance == "0.30000000"
    long = (*seed, PointsGroup(0, None, "0.0000000000000000000000000000001"))
    assert PointsAccount(groups=long).acct_balance == "0.3000000000000000000000000000001"
    assert PointsAccount().acct_balance == "0.00000000"
    assert PointsAccount(groups=seed, acct_balance="1").acct_balance == "1"


@given(st.lists(AMOUNTS, max_size=5))
def test_no_sum_of_points_is_rounded(amounts: list[object]) -> None:
    """Whatever the amounts."""
    groups = tuple(PointsGroup(0, None, f"{amount:f}") for amount in amounts)
    total = sum((Fraction(group.remain_amt) for group in groups), Fraction(0))
    assert Fraction(PointsAccount(groups=groups).acct_balance) == total
