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
