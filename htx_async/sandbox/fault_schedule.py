"""Which request meets which fault."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import attrs

from htx_async.sandbox import endpoints
from htx_async.sandbox.fault import Fault

_NO_FAULT = Fault()
_NAMES = tuple(endpoint.name for endpoint in endpoints.ENDPOINTS)

Pick = Callable[[int], Fault | None]
"""Tells what the nth request meets, from 1; it is asked about each of them once, in order."""


@attrs.define
class _Order:
    pick: Pick
    endpoint: str | None
    seen: int = 0

    def meet(self, endpoint: str | None) -> Fault | None:
        if self.endpoint not in (None, endpoint):
            return None
        self.seen += 1
        return self.pick(self.seen)


@attrs.define
class _Next:
    fault: Fault
    endpoint: str | None
    left: int


class FaultSchedule:
    """
    The faults that a sandbox was told to have: `sandbox.faults`.

    *endpoint* is method and path as HTX's pages write it, "GET /v2/point/account" say; `None`: any
    request, also one for a path that does not exist. A request meets one fault at most. Where
    several orders fit it, `at` comes before `next`, that before `randomly` and that before
    `always`; of two alike the older one.
    """

    def __init__(self) -> None:
        self.clear()

    def next(self, fault: Fault, *, endpoint: str | None = None, times: int = 1) -> None:
        """Let the next *times* requests meet *fault*; orders of this kind queue up."""
        _check(endpoint, fault)
        _at_least_1("times", times)
        self._none = False
        self._next.append(_Next(fault, endpoint, times))

    def at(self, nth: int, fault: Fault, *, endpoint: str | None = None) -> None:
        """Let the *nth* request from now on meet *fault*; 1 is the next one, to that endpoint."""
        _check(endpoint, fault)
        _at_least_1("nth", nth)
        self._none = False
        self._at.append(_Order(lambda seen: fault if seen == nth else None, endpoint))

    def always(self, fault: Fault, *, endpoint: str | None = None) -> None:
        """Let every request meet *fault*, until `clear()`."""
        _check(endpoint, fault)
        self._none = False
        self._always.append(_Order(lambda _: fault, endpoint))

    def randomly(
        self, chance: float, faults: Sequence[Fault], *, seed: int, endpoint: str | None = None
    ) -> None:
        """
        Let each request, with probability *chance*, meet one of *faults*, until `clear()`.

        The same *seed* and order of requests meet the same faults in every run.
        """
        _check(endpoint, *faults)
        if not 0 <= chance <= 1:
            message = f"a chance is a number from 0 to 1: got {chance}"
            raise ValueError(message)
        if not faults:
            message = "randomly() needs at least one fault"
            raise ValueError(message)
        dice, choices = random.Random(seed), tuple(faults)  # noqa: S311 - no secret

        def pick(_: int) -> Fault | None:
            return dice.choice(choices) if dice.random() < chance else None

        self._none = False
        self._randomly.append(_Order(pick, endpoint))

    def clear(self) -> None:
        """Forget all orders: what comes from now on meets no fault."""
        self._at: list[_Order] = []
        self._next: list[_Next] = []
        self._randomly: list[_Order] = []
        self._always: list[_Order] = []
        self._none = True

    def meet(self, endpoint: endpoints.Endpoint | None) -> Fault:
        """Return what the request that arrives now meets. For the sandbox only: it counts."""
        if self._none:
            return _NO_FAULT
        name = endpoint.name if endpoint else None
        # All are asked, whoever wins: each counts, or throws dice, for every request that fits it.
        exact = [order.meet(name) for order in self._at]
        thrown = [order.meet(name) for order in self._randomly]
        for fault in exact:
            if fault is not None:
                return fault
        return self._due(name) or _first([*thrown, *(each.meet(name) for each in self._always)])

    def _due(self, name: str | None) -> Fault | None:
        for order in self._next:
            if order.endpoint in (None, name):
                order.left -= 1
                if not order.left:
                    self._next.remove(order)
                return order.fault
        return None


def _first(faults: Sequence[Fault | None]) -> Fault:
    return next((fault for fault in faults if fault is not None), _NO_FAULT)


def _check(endpoint: str | None, *faults: object) -> None:
    if endpoint is not None and endpoint not in _NAMES:
        message = f"no such endpoint: {endpoint!r}; there are {', '.join(_NAMES)}"
        raise ValueError(message)
    for fault in faults:
        if not isinstance(fault, Fault):
            message = f"not a fault: {fault!r}; htx_async.sandbox.faults makes them"
            raise TypeError(message)


def _at_least_1(what: str, number: int) -> None:
    if number < 1:
        message = f"{what} must be at least 1: got {number}"
        raise ValueError(message)
