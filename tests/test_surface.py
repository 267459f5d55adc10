"""The public surface: what it is, and that it changes on purpose only."""

from __future__ import annotations

import difflib
import inspect

import pytest

import htx_async
from tests import surface


def test_the_surface_is_as_it_was_reviewed() -> None:
    """Changed on purpose? `python -m tests.surface` renews `tests/surface.txt`."""
    reviewed = surface.PATH.read_text(encoding="utf-8").splitlines()
    diff = difflib.unified_diff(
        reviewed, surface.surface().splitlines(), "tests/surface.txt", "the package", lineterm=""
    )
    changed = "\n".join(diff)
    assert not changed, f"renew it with `python -m tests.surface`:\n{changed}"


def test_the_names_are_sorted_and_once() -> None:
    """`__all__` is read by people."""
    assert len(set(htx_async.__all__)) == len(htx_async.__all__)
    assert not [name for name in htx_async.__all__ if name.startswith("_")]


@pytest.mark.parametrize("name", htx_async.__all__)
def test_every_name_is_there_and_explained(name: str) -> None:
    """A class or function has a docstring of its own; so has each of its public members."""
    value = getattr(htx_async, name)
    if not isinstance(value, type):
        assert inspect.getdoc(type(value))
        return
    assert vars(value).get("__doc__"), f"{name} has no docstring"
    for member in surface.own_members(value):
        found = vars(value)[member]
        if callable(found) or isinstance(found, property | classmethod | staticmethod):
            assert found.__doc__, f"{name}.{member} has no docstring"


def test_star_imports_what_is_public() -> None:
    """Nothing more, nothing less."""
    names: dict[str, object] = {}
    exec("from htx_async import *", names)  # noqa: S102 - the only way to test it
    assert set(names) - {"__builtins__"} == set(htx_async.__all__)


def test_the_package_is_typed() -> None:
    """Type checkers look for this file."""
    assert surface.TYPED.is_file()
