"""HTX's time of day, as its answers tell it."""

from __future__ import annotations

import pytest

from htx_async.clock import Clock, ServerClock


class ByHand(Clock):
    """A clock that is set by the test: the time of day apart from the monotonic one."""

    def __init__(self) -> None:
        self.day = 1_000.0
        self.ticks = 50.0

    def now(self) -> float:
        return self.day

    def monotonic(self) -> float:
        return self.ticks

    def pass_(self, seconds: float) -> None:
        """Let both go on."""
        self.day += seconds
        self.ticks += seconds


def test_before_any_answer_the_local_clock_counts() -> None:
    """There is nothing else, and the offset is not known."""
    time = ServerClock(ByHand())
    assert time.now() == 1_000.0
    assert time.offset() is None


@pytest.mark.parametrize(("ahead", "used"), [(4.9, 0.0), (-4.9, 0.0), (5.1, 5.1), (-600.0, -600.0)])
def test_a_small_offset_is_left_alone(ahead: float, used: float) -> None:
    """Up to 5 s the local clock is better than answers that are dated to the second."""
    clock = ByHand()
    time = ServerClock(clock)
    time.observe(1_000.0 + ahead, 50.0)
    clock.pass_(10.0)
    assert time.offset() == pytest.approx(ahead)
    assert time.now() == pytest.approx(1_010.0 + used)


def test_a_measured_offset_is_used_however_small() -> None:
    """HTX complained: its own clock counts from then on."""
    clock = ByHand()
    time = ServerClock(clock)
    time.calibrate(1_001.0, 50.0)
    assert time.now() == pytest.approx(1_001.0)
    assert time.calibrated_at == 50.0


def test_a_step_of_the_local_clock_is_survived() -> None:
    """Somebody sets the clock an hour back: HTX's time goes on with the monotonic clock."""
    clock = ByHand()
    time = ServerClock(clock)
    time.observe(1_000.0, 50.0)
    clock.pass_(10.0)
    clock.day -= 3_600.0
    assert time.now() == pytest.approx(1_010.0)
    assert time.offset() == pytest.approx(3_600.0)
