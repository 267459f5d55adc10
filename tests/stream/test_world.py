"""Live balances never go back in time, are right while synced, and report what they missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from htx_async.stream.merging import DELAY, CurrencyState, Numbers, Pushed, Read, Verdict
from tests.stream.world import Counters, Report, Setting, World

COUNTERS: tuple[Counters, ...] = ("equal", "differ", "restart")
SETTINGS = [Setting(counters, lag=lag) for counters in COUNTERS for lag in (3.0, 0.0)]


def names(setting: Setting) -> str:
    return f"{setting.counters}-{setting.lag:g}"


def problems(report: Report) -> Iterator[str]:
    """Yield what a history violates."""
    if report.backwards:
        yield "backwards"
    if report.wrong_while_synced:
        yield "wrong while synced"
    if not (report.is_right and report.is_synced):
        yield "wrong at the end"
    if report.share < 0.5:
        yield "rarely synced"
    yield from report.unreported
    yield from report.false_alarms


def check(setting: Setting, seeds: range) -> None:
    for seed in seeds:
        assert list(problems(World(setting, seed).run())) == [], f"seed {seed}"


@pytest.mark.parametrize("setting", SETTINGS, ids=names)
def test_session_is_consistent(setting: Setting) -> None:
    """With lost, late, reordered and repeated pushes, cuts, and REST that is behind."""
    check(setting, range(25))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("setting", SETTINGS, ids=names)
def test_session_is_consistent_in_many_histories(setting: Setting) -> None:
    check(setting, range(1000, 1300))


@pytest.mark.parametrize("counters", COUNTERS)
def test_session_is_consistent_with_heavy_loss(counters: Counters) -> None:
    """A fifth of the pushes is lost, and the connection is cut every 20 s."""
    check(Setting(counters, loss=0.2, duplicate=0.2, reorder=0.2, cut_every=20), range(8))


def run(setting: Setting, *, audits: bool = True, histories: int = 25) -> list[Report]:
    return [World(setting, seed, audits=audits).run() for seed in range(histories)]


def last_writer_wins(patch: pytest.MonkeyPatch) -> None:
    def push(state: CurrencyState, pushed: Pushed, connection: int, _: Numbers) -> bool:
        state._pushed = pushed
        state._show_push(connection)
        return False

    def read(state: CurrencyState, read: Read, connection: int, numbers: Numbers) -> Verdict:
        return state.show_read(read, connection, read.received_at + DELAY, numbers)

    patch.setattr(CurrencyState, "push", push)
    patch.setattr(CurrencyState, "read", read)


def numbers_only(patch: pytest.MonkeyPatch) -> None:
    def decide(*_: object) -> Verdict:
        return "pending"

    patch.setattr(Numbers, "are_comparable", lambda *_: True)
    patch.setattr(Numbers, "are_certain", lambda *_: True)
    patch.setattr(CurrencyState, "_decide_by_agreement", decide)


@pytest.mark.parametrize(
    ("variant", "setting", "audits", "violation"),
    [
        (last_writer_wins, Setting("equal"), True, "backwards"),
        (lambda _: None, Setting("equal"), False, "wrong at the end"),
        (numbers_only, Setting("differ"), True, "backwards"),
    ],
    ids=["last writer wins", "numbers without audits", "numbers without the fallback"],
)
def test_oracles_detect_a_weaker_rule(
    variant: Callable[[pytest.MonkeyPatch], None],
    setting: Setting,
    audits: bool,
    violation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rules of other clients, each with the violation that shows why it is not enough."""
    variant(monkeypatch)
    violated = [violation in problems(report) for report in run(setting, audits=audits)]
    assert any(violated)
    assert all(violated) or violation != "backwards"
