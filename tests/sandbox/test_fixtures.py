"""The default users of a sandbox."""

from __future__ import annotations

import re

import pytest

from htx_async.sandbox import Sandbox, default_users


def test_default_users_list_the_point_account_first() -> None:
    """As HTX does, so that the first account is not taken for the spot account."""
    types = [account.type for account in default_users()[0].accounts]
    assert types == ["point", "spot", "margin", "super-margin", "grid-trading", "otc"]


def test_account_ids_omit_the_otc_account() -> None:
    """It is listed, but its balance is an API error."""
    assert Sandbox().account_ids == (14403739, 1000001, 1000002, 1000003, 1000004)
    assert Sandbox(()).account_ids == ()


@pytest.mark.parametrize("accounts", [2, 3, 5, 6, 500])
def test_default_users_have_the_number_of_accounts(accounts: int) -> None:
    """With consecutive ids, each with a balance; the first one listed is the point account."""
    sandbox = Sandbox(accounts=accounts)
    assert sorted(sandbox.account_ids) == list(range(1000001, 1000001 + accounts))
    owner = sandbox.users[0]
    assert len(owner.accounts) == accounts
    assert owner.accounts[0].type == "point"
    assert owner.points.account_id == str(owner.accounts[0].id)
    assert owner.accounts[1].id == 1000001


def test_default_users_have_one_margin_account_per_symbol() -> None:
    owner = Sandbox(accounts=100).users[0]
    symbols = [account.subtype for account in owner.accounts if account.type == "margin"]
    assert len(symbols) == len(set(symbols)) == 96


@pytest.mark.parametrize("currencies", [1, 2, 3, 11, 1500])
def test_default_users_have_two_rows_per_currency(currencies: int) -> None:
    """Those of the documented example come first and keep their amounts."""
    rows = Sandbox(currencies=currencies).users[0].accounts[1].rows
    assert len(rows) == 2 * currencies
    assert [row.type for row in rows] == ["trade", "frozen"] * currencies
    assert len({row.currency for row in rows}) == currencies
    assert rows[0].balance == "91.850043797676510303"
    assert all(re.fullmatch("[a-z0-9]{2,10}", row.currency) for row in rows)


def test_default_users_have_mostly_zero_rows() -> None:
    """Debt is 0, and only trade rows have an available amount, as recorded."""
    filler = default_users(currencies=1500)[0].accounts[1].rows[4:]
    assert sum(row.balance == "0" for row in filler) > 0.9 * len(filler)
    assert sum(row.balance != "0" for row in filler) > 100
    assert {row.debt for row in filler} == {"0"}
    assert all((row.available == row.balance) == (row.type == "trade") for row in filler)
    assert {row.available for row in filler if row.type == "frozen"} == {None}


def test_default_users_are_reproducible() -> None:
    """They depend neither on chance nor on a clock."""
    assert default_users(currencies=99, accounts=9) == default_users(currencies=99, accounts=9)


@pytest.mark.parametrize("accounts", [1, 0, -1])
def test_default_users_reject_too_few_accounts(accounts: int) -> None:
    """There always are a spot and a point account."""
    with pytest.raises(ValueError, match="accounts must be at least 2"):
        Sandbox(accounts=accounts)


def test_default_users_reject_zero_currencies() -> None:
    with pytest.raises(ValueError, match="currencies must be at least 1"):
        Sandbox(currencies=0)
