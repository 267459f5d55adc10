"""The same properties with hypothesis: guided by what is nearly right, not by coverage."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests import strategies
from tests.fuzz.properties import CHECKS, check
from tests.fuzz.seeds import WORDS, seeds

EXAMPLES = 1000

_DRAWN = (strategies.account_lists(), strategies.balances(), strategies.point_balances())
_VERSIONS = (b'{"status":"ok","data":%b}', b'{"code":200,"success":true,"data":%b}')
_picks = st.integers(0, 255)
_choices = st.binary(min_size=2, max_size=2)


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """Draw a response that is right except for a value or a few bytes, for its own decoder."""
    index = draw(st.integers(0, len(_DRAWN) - 1))
    data = draw(strategies.mutated(_DRAWN[index]))
    if draw(st.booleans()):
        return bytes([3, index]) + data
    return bytes([4, index]) + draw(st.sampled_from(_VERSIONS)) % data


@st.composite
def pieced(draw: st.DrawFn) -> bytes:
    """Draw words of HTX and signs of JSON, in any order, after a truncated seed."""
    seed = draw(st.sampled_from(seeds()))
    words = draw(st.lists(st.sampled_from((*WORDS, *(bytes([sign]) for sign in b'{}[]:,"\\ ')))))
    return seed[: draw(st.integers(2, len(seed)))] + b"".join(words)


_anything = st.builds(lambda choice, body: choice + body, _choices, st.binary(max_size=300))


def run(seed: int) -> int:
    """Try some examples, and return their number; a finding is raised."""
    count = 0

    @seeded(seed)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(nearly_right() | pieced() | _anything, _picks)
    def holds(fuzzed: bytes, other: int) -> None:
        nonlocal count
        count += 1
        check(fuzzed)
        CHECKS[other % len(CHECKS)](fuzzed[2:], fuzzed[1])

    holds()
    return count
