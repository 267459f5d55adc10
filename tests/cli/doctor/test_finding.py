"""Findings of the doctor: exit code, skipped steps and output."""

from __future__ import annotations

import attrs
import pytest
from rich.console import Console

from htx_async.cli import exit_codes
from htx_async.cli.doctor import finding
from htx_async.cli.doctor.finding import STEPS, Finding, Verdict, exit_code, skipped


def findings(*verdicts: Verdict) -> list[Finding]:
    return [Finding(step, verdict, "") for step, verdict in zip(STEPS, verdicts, strict=False)]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((), exit_codes.OK),
        ((Verdict.OK, Verdict.UNKNOWN), exit_codes.OK),
        ((Verdict.WARNING, Verdict.OK), exit_codes.WARNING),
        ((Verdict.WARNING, Verdict.FAILED), exit_codes.FAILED),
        ((Verdict.FAILED, Verdict.BAD_SETTING, Verdict.WARNING), exit_codes.USAGE_ERROR),
    ],
)
def test_exit_code_is_that_of_worst_finding(verdicts: tuple[Verdict, ...], code: int) -> None:
    """In this order: a wrong setting, a failure, a warning."""
    assert exit_code(findings(*verdicts)) == code


def test_skipped_steps_name_last_failure() -> None:
    """A warning is not a failure."""
    before = findings(Verdict.BAD_SETTING, Verdict.OK, Verdict.FAILED, Verdict.WARNING)
    until_response = skipped(before, "response")
    assert [item.step for item in until_response] == ["TLS"]
    assert until_response[0].message == "skipped: see DNS"
    assert [item.step for item in skipped(before)] == list(STEPS[4:])
    assert skipped([])[0].message == "skipped"


def rendered(item: Finding, width: int = 80) -> list[str]:
    console = Console(width=width, no_color=True, markup=False)
    with console.capture() as capture:
        console.print(finding.render(item))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_render_prints_finding_and_advice() -> None:
    bad = Finding("key", Verdict.FAILED, "API error: [no]", "Create a new one.")
    assert rendered(bad, 40) == [
        "FAIL  key         API error: [no]",
        "      > Create a new one.",
    ]
    long = attrs.evolve(bad, advice="Create a new one, then another one.")
    assert rendered(long, 40)[1:] == [
        "      > Create a new one, then another",
        "        one.",
    ]
    assert rendered(Finding("DNS", Verdict.UNKNOWN, "skipped")) == ["?     DNS         skipped"]


def test_summary_names_first_problem() -> None:
    unknown = Finding("DNS", Verdict.UNKNOWN, "skipped")
    bad = Finding("key", Verdict.FAILED, "no")
    assert finding.summary([unknown]) == "No problems found."
    assert finding.summary([unknown, bad, bad]) == "Start with: key"


def test_to_dict_has_keys_of_json_output() -> None:
    item = Finding("key", Verdict.WARNING, "expires", "Create a new one.")
    assert item.to_dict() == {
        "step": "key",
        "verdict": "warning",
        "says": "expires",
        "advice": "Create a new one.",
    }
