"""The pages that repeat what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from htx_async import errors
from htx_async.causes import CAUSES
from htx_async.errors import HTXError

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"


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
        again = "yes" if cause.transient else "no"
        said.append(f"| {codes} | {cause.text or 'any'} | `{cause.error.__name__}` | {again} |")
    return said


def test_the_table_of_causes_is_on_the_page() -> None:
    """Row by row, in its order; `python -m tests.test_docs` prints it."""
    page = PAGE.read_text(encoding="utf-8")
    assert page.rpartition("| --- |\n")[2].splitlines() == rows()


if __name__ == "__main__":
    print("| Code | The text says | Error | Transient |\n| --- | --- | --- | --- |")
    print("\n".join(rows()))
