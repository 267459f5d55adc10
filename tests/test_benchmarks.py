"""The benchmarks measure what they say, in short."""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from htx_async import Credentials
from htx_async.middleware.signing import sign_request
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Request
from htx_async.resources import accounts, points
from tests.benchmarks import (
    against,
    batches,
    bodies,
    calls,
    canned,
    decode,
    grants,
    limits,
    plain,
    signing,
    weight,
)
from tests.benchmarks.__main__ import COMMANDS, main
from tests.benchmarks.against import NAME, ROOT, THIS
from tests.benchmarks.batches import CALLS, Batches
from tests.benchmarks.clients import BALANCE, CONTENDERS, OURS, POINTS, Client, Contender
from tests.benchmarks.limiters import CONTROL
from tests.benchmarks.limiters import OURS as OUR_LIMITER
from tests.benchmarks.limits import Row
from tests.benchmarks.plain import Holdings
from tests.benchmarks.simulation import (
    RULES,
    even_network,
    lost_tokens,
    rough_network,
    simulate,
)
from tests.benchmarks.tables import Goal, goals_table, gross_regressions
from tests.benchmarks.timing import Sample, ratio
from tests.decoded import decoded

REQUESTS = 300
BROKEN = ("EOFError", "BrokenPipeError")


@pytest.mark.parametrize("rule", RULES)
def test_simulation_ours_stays_below_the_limit_at_the_highest_rate(rule: RateLimit) -> None:
    outcome = simulate(OUR_LIMITER, rule, REQUESTS, even_network())
    assert set(outcome.rejections.values()) == {0}
    assert outcome.rate >= 0.99 * outcome.bound
    assert not outcome.overtaken


def test_simulation_ours_stays_below_the_limit_on_a_rough_network() -> None:
    outcome = simulate(OUR_LIMITER, RULES[0], REQUESTS, rough_network(REQUESTS))
    assert set(outcome.rejections.values()) == {0}


@pytest.mark.parametrize("rule", RULES)
def test_simulation_plain_bucket_exceeds_the_limit(rule: RateLimit) -> None:
    outcome = simulate(CONTROL, rule, REQUESTS, even_network())
    assert outcome.rejections["fixed"] > 0


def test_lost_tokens_ours_loses_none() -> None:
    assert lost_tokens(OUR_LIMITER, RULES[0]) == (0, RULES[0].requests)


def test_limits_report_and_goals() -> None:
    """The name and the lost tokens stand in the first row of a limiter only."""
    outcome = simulate(OUR_LIMITER, RULES[0], REQUESTS, even_network())
    rows = [Row(OUR_LIMITER.name, RULES[0], outcome, is_rough=rough) for rough in (False, True)]
    lines = limits.report(rows, {OUR_LIMITER.name: 3}).splitlines()
    assert [line.split("|")[1].strip() for line in lines[-2:]] == ["htx_async", ""]
    assert [line.split("|")[2].strip() for line in lines[-2:]] == ["100/2", "100/2*"]
    verdicts = [goal.verdict for goal in limits.goals(rows, {OUR_LIMITER.name: 3})]
    assert verdicts == ["met", "met", "missed"]


def test_canned_balance_is_what_htx_sends() -> None:
    balance = decoded(accounts.BALANCE, bodies.data(bodies.balance()))
    assert len(balance.entries) == balance.id == bodies.ROWS
    assert len(balance) == bodies.ROWS // 2
    zeros = sum(1 for entry in balance.entries if not entry.balance)
    assert 0.85 <= zeros / bodies.ROWS <= 0.95
    assert {entry.type for entry in balance.entries if entry.available is None} == {"frozen"}


def test_canned_points_are_what_htx_sends() -> None:
    balance = decoded(points.BALANCE, bodies.data(bodies.points()))
    assert balance.acct_balance == sum(group.remain_amt for group in balance.group_ids)


def test_decoders_find_the_same() -> None:
    data = bodies.data(bodies.balance())
    expected = batches.expected_results()[BALANCE]
    for decoder in decode.decoders():
        assert decoder.look_up(decoder.read(data)) == expected


def test_peers_sign_as_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = SimpleNamespace(strftime=time.strftime, gmtime=lambda: time.gmtime(0))
    monkeypatch.setattr(plain, "time", stopped)
    credentials = Credentials(plain.ACCESS_KEY, plain.SECRET_KEY)
    signed = sign_request(Request(points.BALANCE, plain.POINTS), credentials, "htx.test", 0)
    assert plain.signed("htx.test", plain.POINTS) == f"{plain.POINTS}?{signed.query}"


def test_ratio_is_the_median_of_rounds() -> None:
    assert ratio([1, 10], [2, 40]) == 0.375


def test_goals_only_ratios_fail_and_only_grossly() -> None:
    goals = [
        Goal("a", "b", 1.0, 1.9),
        Goal("absent", "b", 1.0, None),
        Goal("slow", "5 µs", 5.0, 500.0, "µs"),
    ]
    assert gross_regressions(goals) == []
    assert [goal.verdict for goal in goals] == ["missed", "not measured", "missed"]
    assert gross_regressions([*goals, Goal("worse", "b", 1.0, 2.1)]) == [
        "worse: 2.10 x b, the goal is 1.00"
    ]
    assert "| slow   |    5 µs | 5.00 µs | 500.00 µs |" in goals_table(goals)


def _batches() -> Batches:
    rounds = [Sample(cpu, 2 * cpu) for cpu in (100.0, 110.0, 120.0)]
    keys = [(contender.name, *key) for contender in CONTENDERS for key in CALLS]
    return Batches(dict.fromkeys(keys, rounds), {})


def test_calls_report_names_all_clients_and_goals() -> None:
    text = calls.report(_batches())
    assert all(f"| {contender.name} " in text for contender in CONTENDERS)
    assert [goal.value for goal in calls.goals(_batches())] == [1.0] * 10


def test_main_rejects_an_unknown_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["nothing"])
    assert caught.value.code == 2
    assert "|".join(COMMANDS) in capsys.readouterr().err


def test_main_checks_only_if_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weight, "run", lambda _: [Goal("worse", "b", 1.0, 2.1)])
    assert main(["weight"]) == 0
    assert main(["weight", "--check"]) == 1
    assert "gross regression: worse: 2.10 x b" in capsys.readouterr().err


class _Wrong(Client):
    async def balance(self) -> Holdings:
        return Holdings((Decimal(1),) * 10, 1)

    async def points(self) -> Decimal:
        raise RuntimeError

    async def aclose(self) -> None:
        pass


def _not_installed(url: str) -> Client:
    msg = f"nothing for {url}"
    raise ImportError(msg)


@pytest.mark.slow
def test_calls_exclude_clients_that_are_absent_wrong_or_failing() -> None:
    contenders = (
        OURS,
        Contender("lacking", _not_installed, ""),
        Contender("wrong", _Wrong, ""),
        Contender("failing", _Wrong, "", works=(POINTS,)),
    )

    async def absent(url: str) -> dict[str, str]:
        async with batches.opened(contenders, url, batches.expected_results()) as (clients, absent):
            assert list(clients) == [OURS.name]
            return absent

    with canned.serving() as url:
        excluded = asyncio.run(absent(url))
    assert excluded == {
        "lacking": f"nothing for {url}",
        "wrong": "its result is different",
        "failing": "it fails with RuntimeError",
    }


def test_grants_report_has_a_row_for_each_crowd() -> None:
    text = grants.report([grants.Row("RateLimiter", 50, [1.0, 1.25, 200.0], 0.02)])
    assert "| RateLimiter  |              50 | 1.2 (1.1\u2011101) |" in text


def test_signing_cpu_of_process_is_that_of_the_child() -> None:
    """Not that of its parent, and not the time that it sleeps."""
    sleep = "import time; time.sleep(0.3)"
    assert 1_000 < signing.cpu_of_process(sys.executable, "-c", sleep) < 250_000


def test_signing_goals_need_another_checkout() -> None:
    names = ("import htx_async", "first call", "htx-async accounts --sandbox")
    processes = {name: [1.0] for name in ("import httpx", *names)}
    values = [goal.value for goal in signing.goals({"sign": [1.0]}, processes)]
    assert values == [1.0, 1.0, None, None, None]
    processes |= {f"{name}, {NAME}": [2.0] for name in names}
    values = [goal.value for goal in signing.goals({"sign": [1.0]}, processes)]
    assert values == [1.0, 1.0, 0.5, 0.5, 0.5]


@pytest.mark.slow
def test_signing_starts_are_those_of_both_checkouts() -> None:
    """Here twice the same."""
    costs = signing.starts(1, THIS)
    assert min(map(min, costs.values())) > 0
    for name in ("import htx_async", "first call", "htx-async accounts --sandbox"):
        assert 0.3 < ratio(costs[name], costs[f"{name}, {NAME}"]) < 3


@pytest.mark.slow
def test_calls_measure_every_client_and_another_checkout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "CALLS", {(BALANCE, 2): 1, (POINTS, 2): 5})
    contenders = (*CONTENDERS, *against.contenders(ROOT))
    with canned.serving() as url:
        expected = batches.expected_results()
        measured = asyncio.run(batches.measure(contenders, url, rounds=1, expected=expected))
    missing = {one.name for one in contenders if one.name not in measured.names(one.works[0])}
    assert missing == measured.absent.keys()
    assert all("No module named" in reason for reason in measured.absent.values())
    assert NAME not in missing
    assert all(len(one) == 1 and one[0].cpu > 0 for one in measured.samples.values())


@pytest.mark.slow
def test_calls_import_the_other_checkout_in_its_process(tmp_path: Path) -> None:
    package = tmp_path / "htx_async"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('not usable')", encoding="utf-8")
    other, expected = against.contenders(tmp_path), batches.expected_results()

    async def absent() -> dict[str, str]:
        async with batches.opened(other, "http://127.0.0.1:1", expected) as (_, absent):
            return absent

    assert asyncio.run(absent()) in ({NAME: f"it fails with {name}"} for name in BROKEN)


def test_weight_closure_has_each_distribution_once() -> None:
    """Around circles too; not what another Python or an extra would bring."""
    requirements = {
        "a": ["B_b>=1", "c; python_version >= '3'", "d; python_version < '3'", "e; extra == 'x'"],
        "b-b": ["C", "a"],
        "c": [],
    }
    assert weight.closure("A", requirements.__getitem__) == {"a", "b-b", "c"}


def test_weight_is_that_of_the_dependencies(capsys: pytest.CaptureFixture[str]) -> None:
    """All that the project names, all of httpx, and nothing of an extra; no gross regression."""
    weights = weight.weights(["httpx", weight.OURS])
    ours, httpx = weights[weight.OURS], weights["httpx"]
    assert {"htx-async", "attrs", "cattrs", "msgspec"} <= ours.distributions
    assert httpx.distributions < ours.distributions
    assert not {"rich", "cyclopts", "aiohttp", "uvicorn"} & ours.distributions
    assert 500_000 < httpx.size < ours.size
    assert main(["weight", "--check"]) == 0
    assert "| httpx " in capsys.readouterr().out


def test_weight_another_dependency_is_a_gross_regression_some_day() -> None:
    """The check can fail."""
    httpx = weight.Weight(frozenset("ab"), 10)
    ours = weight.Weight(frozenset("abcdefghij"), 70)
    assert len(gross_regressions(weight.goals({"httpx": httpx, weight.OURS: ours}))) == 2
