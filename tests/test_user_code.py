"""`user_code.py`, which type checkers read, covers every public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import htx_async
from htx_async import Model

USER_CODE = Path(__file__).with_name("user_code.py").read_text(encoding="utf-8")
NAMES = [
    name
    for name in htx_async.__all__
    if not (isinstance(value := getattr(htx_async, name), type) and issubclass(value, Model))
]
"""All but the models, whose attributes are annotated."""


@pytest.mark.parametrize("name", NAMES)
def test_user_code_uses_every_public_name(name: str) -> None:
    """An import alone is not a use."""
    use = re.compile(rf"^(?!    {name},$).*\b{name}\b", re.MULTILINE)
    assert use.search(USER_CODE), f"use {name} in user_code.py"
