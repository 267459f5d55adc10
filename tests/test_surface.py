"""The public surface: what it is, and that it changes on purpose only."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path

import pytest

import htx_async
from tests import surface

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def test_the_surface_is_as_it_was_reviewed() -> None:
    """Changed on purpose? `python -m tests.surface` renews `tests/surface.txt`."""
    reviewed = surface.PATH.read_text(encoding="utf-8").splitlines()
    diff = difflib.unified_diff(
        reviewed, surface.surface().splitlines(), "tests/surface.txt", "the package", lineterm=""
    )
    changed = "\n".join(diff)
    assert not changed, f"renew it with `python -m tests.surface`:\n{changed}"


def test_what_changed_since_the_last_release_is_announced() -> None:
    """Name it in CHANGELOG.md, under "[Unreleased]", as code: `HTXClient.get()` or `get`."""
    released = surface.RELEASED.read_text(encoding="utf-8")
    changelog = CHANGELOG.read_text(encoding="utf-8")
    assert surface.unannounced(released, surface.surface(), changelog) == []


BEFORE = """\
class Client()
    (
        keys: str
    ) -> None
    def get(self) -> str
    property name -> str
LIMIT: int
"""
CHANGELOG_NOW = (
    "## [Unreleased]\n\n- {}\n\n## [0.1.0] - 2026-01-01\n\n- `Client`, `get`, `LIMIT`, `New`\n"
)


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        (BEFORE.replace("get(self)", "get(self, path: str)"), "Client.get"),
        (BEFORE.replace("    def get(self) -> str\n", ""), "Client.get"),
        (BEFORE.replace("    property name -> str", "    property name -> int"), "Client.name"),
        (BEFORE.replace("        keys: str\n", "        keys: str,\n        n: int\n"), "Client"),
        (BEFORE.replace("class Client()", "class Client(Base)"), "Client"),
        (BEFORE.replace("LIMIT: int\n", ""), "LIMIT"),
        (BEFORE + "class New()\n    (n: int) -> None\n    def run(self) -> None\n", "New"),
        (BEFORE + "class sub.New()\n    ()\n    def run(self) -> None\n", "sub.New"),
        (BEFORE[BEFORE.index("LIMIT") :], "Client"),
    ],
)
def test_a_change_is_announced_by_its_name(after: str, changed: str) -> None:
    """As unreleased, as code: elsewhere it says nothing. A class announces its members."""
    say = CHANGELOG_NOW.format
    assert surface.unannounced(BEFORE, after, say("`other`")) == [changed]
    assert surface.unannounced(BEFORE, after, say(changed)) == [changed]
    assert surface.unannounced(BEFORE, after, say(f"`{changed}()` has changed")) == []
    assert surface.unannounced(BEFORE, after, "") == [changed]


def test_the_same_needs_no_announcement() -> None:
    """Nor does a release with no changelog."""
    assert surface.unannounced(BEFORE, BEFORE, "") == []


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
