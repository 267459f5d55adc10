"""The pages that repeat what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import htx_async
from htx_async import errors
from htx_async.cli import exit_codes
from htx_async.error_codes import CAUSES
from htx_async.errors import HTXError

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "errors.md"


def test_every_error_has_a_row() -> None:
    """And every row an error."""
    named = set(re.findall(r"^\| `(\w+Error)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    ours = {kind.__name__ for kind in kinds if issubclass(kind, HTXError)}
    assert named == ours - {"HTXError", "AuthenticationError"}


def rows() -> list[str]:
    """Return the rows of the page's last table, as the table of causes says them."""
    said = []
    for cause in CAUSES:
        codes = ", ".join(f"`{code}`" for code in cause.codes) or "any"
        again = "yes" if cause.retryable else "no"
        said.append(f"| {codes} | {cause.text or 'any'} | `{cause.error.__name__}` | {again} |")
    return said


def test_the_table_of_causes_is_on_the_page() -> None:
    """Row by row, in its order; `python -m tests.test_docs` prints it."""
    page = PAGE.read_text(encoding="utf-8")
    assert page.rpartition("| --- |\n")[2].splitlines() == rows()


def test_every_public_name_is_in_the_reference() -> None:
    """By name; the errors by their module, which has no others."""
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?m)auto(?:class|data|function):: (\w+)$", page))
    assert ".. automodule:: htx_async.errors" in page
    assert named == {name for name in htx_async.__all__ if not hasattr(errors, name)}


def test_the_exit_codes_are_those_of_the_command() -> None:
    """All of them, and no other."""
    page = (DOCS / "promises.md").read_text(encoding="utf-8")
    table = page.rpartition("## Exit codes")[2]
    told = [int(code) for code in re.findall(r"(?m)^\| (\d+) \|", table)]
    named = {value for value in vars(exit_codes).values() if isinstance(value, int)}
    assert told == sorted(named)


if __name__ == "__main__":
    print("| Code | The text says | Error | Transient |\n| --- | --- | --- | --- |")
    print("\n".join(rows()))
