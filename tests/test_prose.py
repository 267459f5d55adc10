"""The check of the wording finds what it must, and nothing in the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import prose


def check(tmp_path: Path, text: str) -> list[str]:
    """Return the findings of a page with this text."""
    path = tmp_path / "page.md"
    path.write_text(text, "utf-8")
    return [finding for _, finding in prose.check_markdown(path)]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("Callers who wait", "'who': write the caller that"),
        ("This is no limit.", "'is no ': write is not a"),
        ("It reports how many\ncalls wait.", "'how many': write number of"),
        ("[x](missing.md)", "no such file: missing.md"),
        ("# One two three four five six seven", "title of more than 6 words"),
        ("\n" * 201, "201 lines: split the page, 200 are enough"),
    ],
)
def test_prose_reports_finding(tmp_path: Path, text: str, finding: str) -> None:
    """Each kind of finding, and no other."""
    assert check(tmp_path, text) == [finding]


@pytest.mark.parametrize(
    "text",
    [
        "`who`",
        "```text\nHe told me.\n```",
        "There is no release yet.",
        "Requests in flight.",
        "# One\n\n[x](#one) and [HTX](https://www.htx.com/ask)",
    ],
)
def test_prose_accepts(tmp_path: Path, text: str) -> None:
    """Code and addresses are not prose."""
    assert check(tmp_path, text) == []


def test_prose_reports_missing_heading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the README and its like: Sphinx does not read them."""
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    text = "# One\n\n[x](#two) [y](#one)"
    assert check(tmp_path, text) == ["no such heading: #two"]


def test_prose_reads_docstrings_messages_and_comments(tmp_path: Path) -> None:
    """With the line of each."""
    path = tmp_path / "module.py"
    path.write_text('"""\nFirst.\n\nIt was told.\n"""\n# who\nmsg = "go and ask"\nask = "ask"\n')
    assert [line for line, _ in prose.check_code(path)] == [6, 4, 7]
