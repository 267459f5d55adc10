"""The benchmark of the limiter measures what it says, in short."""

from __future__ import annotations

import pytest

from benchmarks import grants, network
from benchmarks.limiters import CONTROL, OURS
from benchmarks.simulation import RULES, lost, simulate
from htx_async.transport.request import RateLimit

REQUESTS = 300


@pytest.mark.parametrize("rule", RULES)
def test_ours_is_never_refused_and_as_quick_as_its_rule_allows(rule: RateLimit) -> None:
    outcome = simulate(OURS, rule, REQUESTS, network.even())
    assert set(outcome.refusals.values()) == {0}
    assert outcome.rate >= 0.99 * outcome.bound
    assert not outcome.overtaken


def test_ours_bears_a_rough_network() -> None:
    outcome = simulate(OURS, RULES[0], REQUESTS, network.rough(REQUESTS))
    assert set(outcome.refusals.values()) == {0}


@pytest.mark.parametrize("rule", RULES)
def test_the_plain_bucket_is_refused(rule: RateLimit) -> None:
    outcome = simulate(CONTROL, rule, REQUESTS, network.even())
    assert outcome.refusals["fixed"] > 0


def test_cancellations_cost_no_token() -> None:
    assert lost(OURS, RULES[0]) == (0, RULES[0].limit)


def test_the_cost_of_a_grant_is_put_in_its_page() -> None:
    """Between its marks; a page without them is left alone."""
    page = f"before\n{grants.START}\nold\n{grants.END}\nafter\n"
    row = grants.Row("Budget", 50, 1.25, 1.0, 200.0, 0.02)
    renewed = grants.renewed(page, grants.table([row]))
    assert renewed.startswith(f"before\n{grants.START}\n\n| budget | callers")
    assert "| 50              | 1.2 (1.0-200) | 0.02                |\n\n" in renewed
    assert renewed.endswith(f"{grants.END}\nafter\n")
    with pytest.raises(ValueError, match="the page has no lines"):
        grants.renewed("nothing", "")
