"""Tables, and where they stand on the page."""

from __future__ import annotations

import os
import platform
import re
import textwrap
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from tests.benchmarks import peers

_CPU: Final = Path("/proc/cpuinfo")
_MODEL: Final = re.compile(r"^model name\s*: (.*)$", re.MULTILINE)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first hold figures."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    shown = [_line(lines[0], widths), f"| {' | '.join(rule)} |"]
    return "\n".join([*shown, *(_line(line, widths) for line in lines[1:])]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def machine(packages: Iterable[str]) -> str:
    """Return what was measured on, and with."""
    found = ((name, peers.version(name)) for name in dict.fromkeys(packages))
    versions = ", ".join(f"{name} {version or '(absent)'}" for name, version in found)
    core = f"{os.cpu_count()} cores of {_model()}"
    python = f"Python {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {core}.\n{versions}.\n"


def wrapped(text: str) -> str:
    """Return a paragraph in lines of the page's length."""
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False) + "\n"


def _model() -> str:
    told = _MODEL.search(_CPU.read_text(encoding="utf-8")) if _CPU.exists() else None
    return told[1].strip() if told else platform.processor() or "an unknown kind"


def is_there(package: str | None) -> bool:
    """Tell whether a distribution is installed; `None`: nothing is needed."""
    try:
        return package is None or bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def put(page: Path, mark: str, text: str) -> None:
    """Replace what stands between the marks `<!-- mark -->` and `<!-- /mark -->` of a page."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        msg = f"{page} has no place for it, from {begin} to {end}"
        raise SystemExit(msg)
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
