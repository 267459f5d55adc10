"""Many deadlines behind one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.middleware.alarms import Alarms
from tests.ratelimit.test_queue import timers
from tests.virtual import VirtualClock, run

MOMENTS = st.sampled_from([0.1, 0.25, 0.3, 1.0, 2.0, 30.0])
STEPS = st.lists(st.tuples(st.booleans(), MOMENTS, MOMENTS), max_size=12)
"""Of each alarm: whether it is unset, when that is or it is set, and how long it takes."""


@given(STEPS)
def test_each_rings_at_its_moment_unless_it_is_unset(
    steps: list[tuple[bool, float, float]],
) -> None:
    """Whatever comes and goes between: as a timer for each would do."""
    rung: list[tuple[int, float]] = []

    async def main() -> None:
        loop, clock = asyncio.get_running_loop(), VirtualClock()
        alarms = Alarms(clock)
        for number, (is_unset, since, seconds) in enumerate(steps):

            def ring(number: int = number) -> None:
                rung.append((number, loop.time()))

            loop.call_at(since, partial(alarms.set, seconds, ring, since))
            if is_unset:
                loop.call_at(since + seconds / 2, partial(alarms.unset, seconds, ring))
        await asyncio.sleep(100.0)
        assert timers() == 0

    run(main())
    due = {number: since + takes for number, (no, since, takes) in enumerate(steps) if not no}
    assert sorted(number for number, _ in rung) == sorted(due)
    assert all(0 <= at - due[number] < 1e-9 for number, at in rung)


@pytest.mark.usefixtures("virtual_time")
async def test_one_timer_for_all() -> None:
    """It is not touched by those that come later, nor by those that go."""
    alarms = Alarms(VirtualClock())
    rings = [partial(int, number) for number in range(100)]
    for number, ring in enumerate(rings):
        alarms.set(5.0 + number % 3, ring, 0.0)
    timer = alarms._timer
    for number, ring in enumerate(rings):
        alarms.unset(5.0 + number % 3, ring)
    assert alarms._timer is timer is not None
    assert timers() == 1
    assert not alarms._waiting


@pytest.mark.usefixtures("virtual_time")
async def test_who_is_gone_is_held_no_longer() -> None:
    """An alarm may hold an answer of half a megabyte."""
    alarms, rung = Alarms(VirtualClock()), list[str]()
    first, second = partial(rung.append, "first"), partial(rung.append, "second")
    alarms.set(1.0, first, 0.0)
    alarms.set(1.0, second, 0.0)
    alarms.unset(1.0, first)
    alarms.unset(1.0, first)  # twice is once
    await asyncio.sleep(2.0)
    assert rung == ["second"]
    assert not alarms._waiting


@pytest.mark.usefixtures("virtual_time")
async def test_a_timer_that_goes_off_a_little_early_is_believed() -> None:
    """Else it would be set again for no time at all, for ever."""

    class Behind(VirtualClock):
        def monotonic(self) -> float:
            return super().monotonic() * (1 - 1e-15)

    alarms, rung = Alarms(Behind()), list[float]()
    alarms.set(3.3, lambda: rung.append(asyncio.get_running_loop().time()), 0.0)
    await asyncio.sleep(4.0)
    assert rung == [3.3]


@pytest.mark.usefixtures("virtual_time")
async def test_an_alarm_that_fails_hurts_no_other() -> None:
    """Nor does a clock that once fails to set a timer."""

    class Failing(VirtualClock):
        fails = True

        def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
            if self.fails:
                raise OverflowError
            return super().call_later(seconds, callback)

    clock, rung = Failing(), list[float]()
    alarms, now = Alarms(clock), asyncio.get_running_loop().time
    with pytest.raises(OverflowError):
        alarms.set(1.0, partial(int, 0), 0.0)
    clock.fails = False
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    alarms.set(2.0, partial(int, "x"), 0.0)
    for _ in range(2):
        alarms.set(2.0, lambda: rung.append(now()), 0.0)
    await asyncio.sleep(3.0)
    assert rung == [2.0, 2.0]


@pytest.mark.usefixtures("virtual_time")
async def test_an_alarm_may_set_another() -> None:
    """Also one that is due before all that wait."""
    alarms, rung = Alarms(VirtualClock()), list[float]()
    now = asyncio.get_running_loop().time

    def again() -> None:
        alarms.set(0.5, lambda: rung.append(now()), now())

    alarms.set(1.0, again, 0.0)
    alarms.set(9.0, lambda: rung.append(now()), 0.0)
    await asyncio.sleep(10.0)
    assert rung == [1.5, 9.0]


@pytest.mark.usefixtures("virtual_time")
async def test_stopped_it_leaves_no_timer() -> None:
    """A client that is closed leaves nothing behind."""
    alarms = Alarms(VirtualClock())
    ring = partial(int, 1)
    alarms.set(30.0, ring, 0.0)
    alarms.unset(30.0, ring)
    alarms.stop()
    assert timers() == 0
