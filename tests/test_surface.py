"""The public API changes only on purpose, and every change is in the changelog."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path

import pytest

import htx_async
from tests import surface

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def test_surface_keeps_what_it_has() -> None:
    """
    Nothing public is removed or changed; additions are free.

    After a change on purpose, `python -m tests.surface` updates `tests/surface.txt`.
    """
    reviewed = surface.PATH.read_text(encoding="utf-8").splitlines()
    diff = difflib.unified_diff(reviewed, surface.surface().splitlines(), lineterm="", n=9)
    removed = [line for line in diff if line.startswith("-") and not line.startswith("---")]
    assert not removed, "\n".join(["update it with `python -m tests.surface`:", *removed])


def test_changelog_lists_every_change_since_the_last_release() -> None:
    """Add missing names to CHANGELOG.md, under "[Unreleased]", as code: `HTXClient.get()`."""
    released = surface.RELEASED.read_text(encoding="utf-8")
    if not released:  # before the first release everything is new, and the changelog a summary
        released = surface.surface()
    changelog = CHANGELOG.read_text(encoding="utf-8")
    assert surface.unlisted(released, surface.surface(), changelog) == []


BEFORE = """\
class Client()
    (
        keys: str
    ) -> None
    def get(self) -> str
    property name -> str
LIMIT: int
"""
CHANGELOG_TEMPLATE = (
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
def test_changelog_must_name_a_change_as_code(after: str, changed: str) -> None:
    """Only names in the unreleased section count. A new or removed class covers its members."""
    changelog = CHANGELOG_TEMPLATE.format
    assert surface.unlisted(BEFORE, after, changelog("`other`")) == [changed]
    assert surface.unlisted(BEFORE, after, changelog(changed)) == [changed]
    assert surface.unlisted(BEFORE, after, changelog(f"`{changed}()` has changed")) == []
    assert surface.unlisted(BEFORE, after, "") == [changed]


def test_changelog_may_be_empty_without_changes() -> None:
    assert surface.unlisted(BEFORE, BEFORE, "") == []


def test_public_names_are_unique_and_have_no_underscore() -> None:
    assert len(set(htx_async.__all__)) == len(htx_async.__all__)
    assert not [name for name in htx_async.__all__ if name.startswith("_")]


@pytest.mark.parametrize("name", htx_async.__all__)
def test_public_name_has_a_docstring(name: str) -> None:
    """Each public class has its own docstring; so has each of its public members."""
    value = getattr(htx_async, name)
    if not isinstance(value, type):
        assert inspect.getdoc(type(value))
        return
    assert vars(value).get("__doc__"), f"{name} has no docstring"
    for member in surface.own_members(value):
        attribute = vars(value)[member]
        if callable(attribute) or isinstance(attribute, property | classmethod | staticmethod):
            assert attribute.__doc__, f"{name}.{member} has no docstring"


def test_star_import_imports_exactly_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from htx_async import *", names)  # noqa: S102 - the only way to test it
    assert set(names) - {"__builtins__"} == set(htx_async.__all__)


def test_package_has_py_typed() -> None:
    assert surface.TYPED.is_file()
