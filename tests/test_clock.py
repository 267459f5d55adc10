"""`ServerClock`: HTX's clock, estimated from its responses."""

from __future__ import annotations

import pytest

from htx_async.clock import Clock, ServerClock


class ManualClock(Clock):
    """A clock with a wall clock and a monotonic clock that the test sets separately."""

    def __init__(self) -> None:
        self.wall = 1_000.0
        self.elapsed = 50.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self.wall += seconds
        self.elapsed += seconds


def test_server_clock_uses_the_local_clock_before_any_response() -> None:
    """The offset is unknown."""
    time = ServerClock(ManualClock())
    assert time.now() == 1_000.0
    assert time.offset() is None


@pytest.mark.parametrize(
    ("offset", "correction"), [(4.9, 0.0), (-4.9, 0.0), (5.1, 5.1), (-600.0, -600.0)]
)
def test_server_clock_ignores_a_small_offset(offset: float, correction: float) -> None:
    """Up to 5 s, the local clock is more exact than the Date header, which has whole seconds."""
    clock = ManualClock()
    time = ServerClock(clock)
    time.observe(1_000.0 + offset, 50.0)
    clock.advance(10.0)
    assert time.offset() == pytest.approx(offset)
    assert time.now() == pytest.approx(1_010.0 + correction)


def test_server_clock_applies_any_calibrated_offset() -> None:
    """After a clock error, HTX's own time applies, even if the offset is small."""
    clock = ManualClock()
    time = ServerClock(clock)
    time.calibrate(1_001.0, 50.0)
    assert time.now() == pytest.approx(1_001.0)
    assert time.calibrated_at == 50.0


def test_server_clock_is_unaffected_by_a_step_of_the_local_clock() -> None:
    """When the wall clock is set back an hour, the estimate advances with the monotonic clock."""
    clock = ManualClock()
    time = ServerClock(clock)
    time.observe(1_000.0, 50.0)
    clock.advance(10.0)
    clock.wall -= 3_600.0
    assert time.now() == pytest.approx(1_010.0)
    assert time.offset() == pytest.approx(3_600.0)


def test_server_clock_follows_a_date_that_contradicts_a_calibration() -> None:
    """The monotonic clock stopped for 8 hours: the wall clock and HTX's moved on."""
    clock = ManualClock()
    time = ServerClock(clock)
    time.calibrate(1_601.0, 50.0)
    clock.wall += 8 * 3_600.0
    clock.elapsed += 10.0
    clock.wall += 10.0
    assert time.correction() == pytest.approx(601.0 - 8 * 3_600.0)
    time.observe(clock.wall + 601.0, 60.0)
    assert time.correction() == pytest.approx(601.0)
    assert time.calibrated_at < 0
    time.observe(clock.wall + 2.0, 60.0)
    assert time.correction() == 0.0


def test_server_clock_keeps_a_calibration_that_dates_confirm() -> None:
    """They are whole seconds."""
    clock = ManualClock()
    time = ServerClock(clock)
    time.calibrate(1_001.0, 50.0)
    time.observe(1_003.0, 50.0)
    assert time.calibrated_at == 50.0
    assert time.correction() == pytest.approx(3.0)


def test_server_clock_corrects_the_dates_of_a_proxy() -> None:
    """The proxy's clock is an hour ahead of HTX's, as the measurement itself shows."""
    clock = ManualClock()
    time = ServerClock(clock)
    time.observe(4_600.0, 50.0)
    time.calibrate(1_000.0, 50.0)
    clock.advance(10.0)
    time.observe(4_610.0, 60.0)
    assert time.calibrated_at == 50.0
    assert time.correction() == pytest.approx(0.0)
    clock.wall += 7_200.0  # while the monotonic clock stops
    time.observe(4_610.0 + 7_200.0, 60.0)
    assert time.offset() == pytest.approx(0.0)


def test_server_clock_ignores_the_date_of_another_response_when_calibrating() -> None:
    """That date may be old, and says nothing about a proxy."""
    clock = ManualClock()
    time = ServerClock(clock)
    time.observe(4_600.0, 50.0)
    clock.advance(10.0)
    time.calibrate(1_010.0, 60.0)
    time.observe(1_010.0, 60.0)
    assert time.offset() == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("offset", "advice"),
    [
        (None, "HTX's time could not be measured: set this machine's clock by NTP."),
        (0.0006, "HTX's clock is 0.001 s ahead of this machine's, which is not the cause"),
        (-2.25, "HTX's clock is 2.250 s behind this machine's, which is not the cause"),
        (600.0, "HTX's clock is 600.000 s ahead of this machine's, which the client corrects"),
    ],
)
def test_server_clock_advice_states_the_measured_offset(offset: float | None, advice: str) -> None:
    """A clock that is right is not to be set."""
    clock = ManualClock()
    time = ServerClock(clock)
    if offset is not None:
        time.calibrate(1_000.0 + offset, 50.0)
    assert time.advice().startswith(advice)
    assert ("NTP" in time.advice()) == (offset is None or abs(offset) > 5)
