"""Data of a sandbox."""

from __future__ import annotations

from typing import Any

import pytest

from htx_async.sandbox import SandboxAccount, SandboxUser
from htx_async.sandbox.state import SandboxState


@pytest.mark.parametrize(
    ("users", "problem"),
    [
        ((SandboxUser(1), SandboxUser(1)), "UID occurs twice: 1"),
        (
            (
                SandboxUser(1, accounts=(SandboxAccount(7, "spot"),)),
                SandboxUser(2, accounts=(SandboxAccount(7, "otc"),)),
            ),
            "account id occurs twice: 7",
        ),
    ],
)
def test_state_rejects_duplicate_ids(users: Any, problem: str) -> None:
    """Ids are unique over all users."""
    with pytest.raises(ValueError, match=problem):
        SandboxState(users)
