"""How bad it is what the doctor finds, and how the command ends by it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from htx_async.cli.exit_codes import FAILED, MISUSED, OK, WARNED


class Verdict(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    UNKNOWN = "?"
    WARNED = "warn"
    FAILED = "FAIL"
    MISUSED = "WRONG"


@attrs.frozen
class Finding:
    """
    What one step of the doctor has found.

    Attributes:
        step: What was looked at.
        verdict: How bad it is; `?`: that could not be told.
        says: What was seen, as a sentence.
        advice: What to do about it, in one line; "" where there is nothing to do.
    """

    step: str
    verdict: Verdict
    says: str
    advice: str = ""


_BAD = (Verdict.MISUSED, Verdict.FAILED)
_CODES = (
    (Verdict.MISUSED, MISUSED),
    (Verdict.FAILED, FAILED),
    (Verdict.WARNED, WARNED),
)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return how the command ends: by the worst finding. A wrong setting is to be mended first."""
    verdicts = {finding.verdict for finding in findings}
    return next((code for verdict, code in _CODES if verdict in verdicts), OK)


STEPS: Final = (
    "settings",
    "proxy",
    "name",
    "connection",
    "TLS",
    "answer",
    "clock",
    "key",
    "permission",
    "address",
    "limits",
)


def skipped(found: Sequence[Finding], until: str | None = None) -> tuple[Finding, ...]:
    """Return the steps that could not be done before *until*, and because of what."""
    done = len(found)
    bad = [each.step for each in found if each.verdict in _BAD]
    why = f": see {bad[-1]}" if bad else ""
    left = STEPS[done : len(STEPS) if until is None else STEPS.index(until)]
    return tuple(Finding(step, Verdict.UNKNOWN, f"not told{why}") for step in left)
