"""Which request or message gets which fault."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import attrs

from htx_async.sandbox.endpoints import ENDPOINTS
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.stream.messages import EVENTS, HANDSHAKE
from htx_async.sandbox.validation import check_choice, check_range

_NO_FAULT = Fault()

Pick = Callable[[int], Fault | None]
"""Return the fault of the nth match, from 1; called once for each, in order."""


# Kinds of rules, by precedence.
_AT, _NEXT, _RANDOMLY, _ALWAYS = range(4)


@attrs.define(eq=False)
class _Rule:
    priority: int
    endpoint: str | None
    pick: Pick
    uses: float = math.inf
    matched: int = 0

    def match(self, endpoint: str | None) -> Fault | None:
        is_request = endpoint not in EVENTS
        if self.endpoint != endpoint and not (self.endpoint is None and is_request):
            return None
        self.matched += 1
        return self.pick(self.matched)


class FaultSchedule:
    """
    Faults of a sandbox: `sandbox.faults`.

    The argument *endpoint* of the methods is method and path as HTX's pages write it, e.g.
    `"GET /v2/point/account"`; `None`: any request, also one for an unknown path. `"GET /ws/v2"` is
    the opening handshake of a stream. The messages that HTX sends on a stream have the names
    `"WS auth"`, `"WS sub"` and `"WS unsub"` (responses to these requests), `"WS snapshot"` and
    `"WS push"` (one message per currency), `"WS ping"` (HTX's heartbeat) and `"WS pong"` (a pong
    frame, the response to a ping frame). A message is only matched by its name. "Request" in the
    methods below means request or message.

    A request or message gets at most one fault. If several match, `at` takes precedence over
    `next`, that over `randomly` and that over `always`; of two of the same kind, the older one.
    """

    def __init__(self) -> None:
        self.endpoints: set[str] = {endpoint.name for endpoint in ENDPOINTS}
        self.endpoints |= {HANDSHAKE, *EVENTS}
        self._rules: list[_Rule] = []

    def next(self, fault: Fault, *, endpoint: str | None = None, times: int = 1) -> None:
        """Apply *fault* to the next *times* requests, after earlier faults of this kind."""
        check_range("times", times, 1)
        self._add(_NEXT, endpoint, lambda _: fault, fault, uses=times)

    def at(self, nth: int, fault: Fault, *, endpoint: str | None = None) -> None:
        """Apply *fault* to the *nth* request from now on, starting at 1."""
        check_range("nth", nth, 1)
        self._add(_AT, endpoint, lambda n: fault if n == nth else None, fault)

    def always(self, fault: Fault, *, endpoint: str | None = None) -> None:
        """Apply *fault* to every request, until `clear()`."""
        self._add(_ALWAYS, endpoint, lambda _: fault, fault)

    def randomly(
        self, chance: float, faults: Sequence[Fault], *, seed: int, endpoint: str | None = None
    ) -> None:
        """
        Apply one of *faults* to each request with the probability *chance*, until `clear()`.

        The same *seed* and order of requests give the same faults in every run.
        """
        check_range("chance", chance, 0, 1)
        if not faults:
            message = "faults must contain at least one fault"
            raise ValueError(message)
        generator, choices = random.Random(seed), tuple(faults)

        def pick(_: int) -> Fault | None:
            return generator.choice(choices) if generator.random() < chance else None

        self._add(_RANDOMLY, endpoint, pick, *choices)

    def clear(self) -> None:
        """Remove all faults."""
        self._rules.clear()

    def match(self, name: str | None) -> Fault:
        """
        Return the fault of the request or message that is handled now.

        *name*: that of the endpoint or message; `None`: an unknown path. For the sandbox only: it
        counts.
        """
        # Every rule is evaluated, whichever wins: it counts all requests that match it.
        hits = [(rule, fault) for rule in self._rules if (fault := rule.match(name)) is not None]
        if not hits:
            return _NO_FAULT
        rule, fault = min(hits, key=lambda hit: hit[0].priority)
        rule.uses -= 1
        if not rule.uses:
            self._rules.remove(rule)
        return fault

    def _add(
        self,
        priority: int,
        endpoint: str | None,
        pick: Pick,
        *faults: object,
        uses: float = math.inf,
    ) -> None:
        if endpoint is not None:
            check_choice("endpoint", endpoint, sorted(self.endpoints))
        for fault in faults:
            if not isinstance(fault, Fault):
                message = f"not a fault: {fault!r}. Use the functions of htx_async.sandbox.faults."
                raise TypeError(message)
            _check_target(fault, endpoint)
        self._rules.append(_Rule(priority, endpoint, pick, uses))


def _check_target(fault: Fault, endpoint: str | None) -> None:
    if endpoint in EVENTS:
        if not fault.for_messages:
            message = f"{fault!r} is not a fault of {endpoint}: a message cannot have it"
            raise ValueError(message)
    elif not fault.for_responses:
        message = f"{fault!r} is a fault of messages. Pass endpoint, one of {', '.join(EVENTS)}."
        raise ValueError(message)
