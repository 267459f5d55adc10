"""The types that users get: `user_code.py`, which mypy and pyright read, misses no public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import htx_async

USED = Path(__file__).with_name("user_code.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", htx_async.__all__)
def test_every_public_name_is_used(name: str) -> None:
    """Beyond its import, with its types."""
    used = re.compile(rf"^(?!    {name},$).*\b{name}\b", re.MULTILINE)
    assert used.search(USED), f"use {name} in user_code.py"
