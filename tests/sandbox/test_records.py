"""The records of users."""

from __future__ import annotations

from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.sandbox import APIKey, PointsAccount, PointsGroup, SandboxAccount, SandboxUser

AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)


def test_secret_key_is_in_no_repr() -> None:
    """Neither of the key nor of its user."""
    key = APIKey("access", "hush-hush")
    assert "hush-hush" not in repr(key)
    assert "hush-hush" not in repr(SandboxUser(1, (key,)))


def test_records_are_frozen() -> None:
    """Data does not change under a running sandbox."""
    account = SandboxAccount(1, "spot")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        account.state = "lock"  # type: ignore[misc]


def test_points_balance_defaults_to_the_exact_sum() -> None:
    """With at least 8 decimal places, as in HTX's example."""
    seed = (PointsGroup(26, 1594396800000, "0.3"),)
    assert PointsAccount(groups=seed).acct_balance == "0.30000000"
    long = (*seed, PointsGroup(0, None, "0.0000000000000000000000000000001"))
    assert PointsAccount(groups=long).acct_balance == "0.3000000000000000000000000000001"
    assert PointsAccount().acct_balance == "0.00000000"
    assert PointsAccount(groups=seed, acct_balance="1").acct_balance == "1"


@given(st.lists(AMOUNTS, max_size=5))
def test_points_balance_is_never_rounded(amounts: list[object]) -> None:
    """Whatever the amounts."""
    groups = tuple(PointsGroup(0, None, f"{amount:f}") for amount in amounts)
    total = sum((Fraction(group.remain_amt) for group in groups), Fraction(0))
    assert Fraction(PointsAccount(groups=groups).acct_balance) == total
