"""
Checks the wording of the README, the documentation, docstrings, comments and messages.

`python -m tests.prose` prints each finding with the words to write instead. Code spans, code blocks
and generated tables are not checked. Vale does the same, but as a binary that pip cannot install
offline.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MAX_PAGE, MAX_README, MAX_TITLE_WORDS = 200, 130, 6

PHRASES: Final = {
    r"\bhow many\b": "number of",
    r"\bso many seconds\b": "every n seconds",
    r"\bwho(ever)?\b": "the caller that",
    r"(?<!there )\bis no (?!longer|more)": "is not a",
    r"\banew\b": "again",
    r"\bpassed over\b": "ignored",
    r"\b(leave|left|leaves) away\b": "omit",
    r"\bha(s|ve) to be\b": "must",
    r"\bcomes? to nothing\b": "fails",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\b(tell|tells|told|telling)\b": "report",
    r"\b(say|says|said)\b": "print, log, raise, state",
    r"\b(hear|hears|heard)\b": "record, observe",
    r"\b(?-i:[Aa]sk|asks|asked|asking)\b": "call, request, acquire",
    r"\b(answer|answers|answered|answering)\b": "response, respond",
    r"\bgrant(s|ed|ing)\b": "acquire, issue",
    r"\b(give|gives|given|giving) back\b": "release",
    r"(?<!in )(?<!in-)\bflights?\b": "call, request",
    r"\bboard(s|ed|ing)?\b": "coalesce",
    r"\bfates?\b": "delivery",
    r"\btransient\b": "retryable",
    r"\bpatience\b": "timeout",
    r"\bsee(s|n)? off\b": "drain",
    r"\bnoticing\b": "schema drift",
    r"\bbudgets?\b": "rate limiter",
    r"\bspare\b": "fallback",
    r"\b(bell|bells|ring|rings)\b": "notify",
    r"\b(lend|lends|lent)\b": "lease",
    r"\bhow-maniet|\bwhat o'clock\b": "number, time",
    r"\bwhat (moves|has left)\b": "name the subject",
}
"""Regular expression of wording to avoid, and what to write instead."""

_FENCE = re.compile(r"(?ms)^(`{3,}|:{3,})(?!\{(dropdown|note|warning|tip)).*?^\1 *$")
_CODE = re.compile(r"`[^`]*`|<[^>]*>|\]\([^)]*\)|https?://\S+")
_TABLE_OF_CODES = re.compile(r"(?m)^\| .*\| (yes|no) \|$")  # quotes HTX
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")


def blank(text: str, pattern: re.Pattern[str]) -> str:
    """Return *text* with each match replaced by blanks, line breaks kept."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def phrases(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the finding of each phrase to avoid."""
    for pattern, instead in PHRASES.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            yield line, f"{match[0]!r}: write {instead}"


def pages() -> list[Path]:
    """Return all Markdown files that ship."""
    docs = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    return sorted([*ROOT.glob("*.md"), *docs])


def check_markdown(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the findings of a page."""
    source = path.read_text("utf-8")
    text = blank(source, _FENCE)
    yield from _check_links(path, text)
    for pattern in (_TABLE_OF_CODES, _CODE):
        text = blank(text, pattern)
    yield from phrases(text)
    lines = source.count("\n")
    is_reference = "reference" in path.parts or path.parent == ROOT
    if lines > MAX_PAGE and not is_reference:
        yield lines, f"{lines} lines: split the page, {MAX_PAGE} are enough"
    if path.name == "README.md" and lines > MAX_README:
        yield lines, f"{lines} lines: {MAX_README} are enough"
    if len(title(source).split()) > MAX_TITLE_WORDS:
        yield 1, f"title of more than {MAX_TITLE_WORDS} words"


def _check_links(path: Path, text: str) -> Iterator[tuple[int, str]]:
    for match in _LINK.finditer(text):
        target, _, anchor = match[1].partition("#")
        linked = path.parent / target if target else path
        line = text.count("\n", 0, match.start()) + 1
        if not linked.exists():
            yield line, f"no such file: {match[1]}"
        elif path.parent == ROOT and anchor and anchor not in anchors(linked):
            yield line, f"no such heading: {match[1]}"


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a page. Sphinx checks those of the documentation."""
    headings = re.findall(r"(?m)^#+ (.*)$", path.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def title(source: str) -> str:
    """Return the title of a page."""
    match = re.search(r"(?m)^# (.*)$", source)
    return match[1] if match else ""


def check_code(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the findings of the docstrings, messages and comments of a module."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                for _, finding in phrases(blank(token.string, _CODE)):
                    yield token.start[0], finding
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        # A text without a blank is a name, a key or a value.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for line, finding in phrases(blank(node.value, _CODE)):
                yield node.lineno + line - 1, finding


def findings() -> Iterator[str]:
    """Yield all findings, each with its file and line."""
    for path in pages():
        yield from (f"{_name(path)}:{line}: {text}" for line, text in check_markdown(path))
    for path in sorted((ROOT / "htx_async").rglob("*.py")):
        yield from (f"{_name(path)}:{line}: {text}" for line, text in check_code(path))
    titles = Counter(title(path.read_text("utf-8")) for path in pages() if path.parent != ROOT)
    for text, number in titles.items():
        if number > 1:
            yield f"docs: {number} pages have the title {text!r}"


def _name(path: Path) -> str:
    return os.fspath(path.relative_to(ROOT))


if __name__ == "__main__":
    lines = list(findings())
    sys.exit("\n".join(lines) or None)
