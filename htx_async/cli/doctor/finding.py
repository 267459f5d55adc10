"""Result of one check of the doctor, how it is printed, and the exit code that follows."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
from rich.console import Group
from rich.table import Table
from rich.text import Text

from htx_async.cli.exit_codes import FAILED, OK, USAGE_ERROR, WARNING


class Verdict(enum.StrEnum):
    """Severity of a finding, as `--json` prints it."""

    OK = "ok"
    UNKNOWN = "skipped"
    WARNING = "warning"
    FAILED = "failed"
    BAD_SETTING = "misconfigured"


@attrs.frozen
class Finding:
    """
    Result of one check.

    Attributes:
        step: The check, one of `STEPS`.
        verdict: Its severity; `UNKNOWN` if the check could not be made.
        message: What was observed.
        advice: How to fix it, on one line; "" if there is nothing to do.
    """

    step: str
    verdict: Verdict
    message: str
    advice: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether the user should act on it."""
        return self.verdict not in (Verdict.OK, Verdict.UNKNOWN)

    def to_dict(self) -> dict[str, str]:
        """Return the finding as `htx-async doctor --json` prints it."""
        verdict, says = self.verdict.value, self.message
        return {"step": self.step, "verdict": verdict, "says": says, "advice": self.advice}


STEPS: Final = (
    "settings",
    "proxy",
    "DNS",
    "connection",
    "TLS",
    "response",
    "clock",
    "key",
    "permission",
    "address",
    "limits",
)

_EXIT_CODES = (
    (Verdict.BAD_SETTING, USAGE_ERROR),
    (Verdict.FAILED, FAILED),
    (Verdict.WARNING, WARNING),
)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code of the worst finding; a wrong setting is the worst."""
    verdicts = {finding.verdict for finding in findings}
    return next((code for verdict, code in _EXIT_CODES if verdict in verdicts), OK)


def skipped(findings: Sequence[Finding], until: str | None = None) -> tuple[Finding, ...]:
    """Return a finding for each step after *findings* and before *until* that was not checked."""
    blocking = (Verdict.BAD_SETTING, Verdict.FAILED)
    causes = [finding.step for finding in findings if finding.verdict in blocking]
    message = f"skipped: see {causes[-1]}" if causes else "skipped"
    steps = STEPS[len(findings) : None if until is None else STEPS.index(until)]
    return tuple(Finding(step, Verdict.UNKNOWN, message) for step in steps)


_LABELS = {
    Verdict.OK: ("ok", "green"),
    Verdict.UNKNOWN: ("?", "dim"),
    Verdict.WARNING: ("warn", "yellow"),
    Verdict.FAILED: ("FAIL", "bold red"),
    Verdict.BAD_SETTING: ("WRONG", "bold red"),
}
"""Text and style of each verdict on a terminal."""


def render(finding: Finding) -> Group:
    """Return a line with the finding and, below, one with its advice."""
    line = _grid(6, 12)
    line.add_row(Text(*_LABELS[finding.verdict]), finding.step, finding.message)
    if not finding.advice:
        return Group(line)
    advice = _grid(6, 2)
    advice.add_row("", Text(">", "bold"), Text(finding.advice, "bold"))
    return Group(line, advice)


def _grid(*widths: int) -> Table:
    grid = Table.grid()
    for width in widths:
        grid.add_column(width=width)
    grid.add_column(overflow="fold")
    return grid


def summary(findings: Iterable[Finding]) -> str:
    """Return the last line of the report."""
    problems = [finding.step for finding in findings if finding.is_problem]
    return f"Start with: {problems[0]}" if problems else "No problems found."
