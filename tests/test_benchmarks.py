"""The benchmarks measure what they say, in short."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from htx_async import Credentials
from htx_async.middleware import signing as ours
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Request
from htx_async.resources import accounts, points
from tests.benchmarks import (
    answers,
    batches,
    canned,
    decode,
    goals,
    grants,
    network,
    plain,
    plot,
    report,
    tables,
    weight,
)
from tests.benchmarks.__main__ import COMMANDS, main
from tests.benchmarks.batches import Batches
from tests.benchmarks.clients import OURS, Client, Contender
from tests.benchmarks.goals import Goal
from tests.benchmarks.limiters import CONTROL
from tests.benchmarks.limiters import OURS as OUR_LIMITER
from tests.benchmarks.plain import Found
from tests.benchmarks.rivals import CONTENDERS
from tests.benchmarks.simulation import RULES, lost, simulate
from tests.benchmarks.timing import Sample, ratio
from tests.decoded import decoded

REQUESTS = 300


@pytest.mark.parametrize("rule", RULES)
def test_ours_is_never_refused_and_as_quick_as_its_rule_allows(rule: RateLimit) -> None:
    outcome = simulate(OUR_LIMITER, rule, REQUESTS, network.even())
    assert set(outcome.refusals.values()) == {0}
    assert outcome.rate >= 0.99 * outcome.bound
    assert not outcome.overtaken


def test_ours_bears_a_rough_network() -> None:
    outcome = simulate(OUR_LIMITER, RULES[0], REQUESTS, network.rough(REQUESTS))
    assert set(outcome.refusals.values()) == {0}


@pytest.mark.parametrize("rule", RULES)
def test_the_plain_bucket_is_refused(rule: RateLimit) -> None:
    outcome = simulate(CONTROL, rule, REQUESTS, network.even())
    assert outcome.refusals["fixed"] > 0


def test_cancellations_cost_no_token() -> None:
    assert lost(OUR_LIMITER, RULES[0]) == (0, RULES[0].requests)


@pytest.mark.parametrize("rows", [answers.MANY, answers.FEW])
def test_the_canned_balance_is_what_htx_sends(rows: int) -> None:
    balance = decoded(accounts.BALANCE, answers.data(answers.balance(rows)))
    assert len(balance.entries) == rows
    assert len(balance) == rows // 2
    zeros = sum(1 for entry in balance.entries if not entry.balance)
    assert 0.85 <= zeros / rows <= 0.95
    assert {entry.type for entry in balance.entries if entry.available is None} == {"frozen"}


def test_a_dense_balance_has_no_zeros() -> None:
    balance = decoded(accounts.BALANCE, answers.data(answers.balance(answers.FEW, dense=True)))
    assert all(entry.balance for entry in balance.entries)


def test_the_canned_points_are_what_htx_sends() -> None:
    balance = decoded(points.BALANCE, answers.data(answers.points()))
    assert balance.acct_balance == sum(group.remain_amt for group in balance.group_ids)


def test_all_decoders_find_the_same() -> None:
    data = answers.data(answers.balance(answers.MANY))
    wanted = batches.expected()[answers.MANY]
    assert isinstance(wanted, Found)
    for way in decode.decoders():
        found = way.look(way.read(data))
        assert found.nonzero == wanted.nonzero
        assert found.totals == pytest.approx(wanted.totals, abs=Decimal("1e-9"))


def test_the_peers_sign_as_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = SimpleNamespace(strftime=time.strftime, gmtime=lambda: time.gmtime(0))
    monkeypatch.setattr(plain, "time", stopped)
    credentials = Credentials(plain.ACCESS_KEY, plain.SECRET_KEY)
    signed = ours.sign_request(Request(points.BALANCE, plain.POINTS), credentials, "htx.test", 0)
    assert plain.signed("htx.test", plain.POINTS) == f"{plain.POINTS}?{signed.query}"


def test_a_ratio_is_of_rounds() -> None:
    assert ratio([1, 10], [2, 40]) == 0.375


def test_only_ratios_fail_and_only_grossly(capsys: pytest.CaptureFixture[str]) -> None:
    fine = [
        Goal("a", "b", 1.0, 1.9),
        Goal("absent", "b", 1.0, None),
        Goal("slow", "5 µs", 5.0, 500.0, "µs"),
    ]
    assert goals.told(fine) == 0
    assert [goal.verdict for goal in fine] == ["missed", "not measured", "missed"]
    assert goals.told([*fine, Goal("worse", "b", 1.0, 2.1)]) == 1
    assert capsys.readouterr().err == "gross regression: worse: 2.10 x b, the goal is 1.00\n"


def test_the_page_has_its_tables_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n", encoding="utf-8")
    tables.put(page, "x", "new")
    tables.put(page, "x", "newer\n")
    assert page.read_text(encoding="utf-8") == "a\n<!-- x -->\n\nnewer\n\n<!-- /x -->\nb\n"
    with pytest.raises(SystemExit, match="no place"):
        tables.put(page, "y", "text")


def test_the_page_of_the_docs_has_all_marks() -> None:
    page = Path(__file__).parents[1] / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")
    for mark in ("calls", "decode", "signing", "weight"):
        assert text.index(f"<!-- {mark} -->") < text.index(f"<!-- /{mark} -->")


def _made_up() -> Batches:
    rounds = [Sample(cpu, 2 * cpu) for cpu in (100.0, 110.0, 120.0)]
    names = [contender.name for contender in CONTENDERS]
    keys = [(name, work, many) for name in names for work in batches.WORKS for many in (1, 64)]
    return Batches(dict.fromkeys(keys, rounds), {})


def test_the_picture_has_a_bar_for_each_figure() -> None:
    picture = ET.fromstring(plot.drawn(_made_up()))  # noqa: S314 - our own
    bars = list(picture.iter("{http://www.w3.org/2000/svg}rect"))
    assert len(bars) == len(_made_up().samples)
    assert {bar.get("width") for bar in bars} == {"500.0"}


def test_the_tables_name_all_clients_and_goals() -> None:
    text = report.calls(_made_up(), {})
    assert all(f"| {contender.name} " in text for contender in CONTENDERS)
    assert [goal.reached for goal in report.aims(_made_up())] == [1.0] * 9


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert ",".join(COMMANDS) in capsys.readouterr().err


class _Wrong(Client):
    async def balance(self, rows: int) -> Found:
        return Found((Decimal(rows),) * 10, 1)

    async def points(self) -> Decimal:
        raise RuntimeError

    async def aclose(self) -> None:
        pass


def _lacking(url: str) -> Client:
    msg = f"nothing for {url}"
    raise ImportError(msg)


@pytest.mark.slow
def test_who_is_absent_fails_or_finds_something_else_takes_no_part() -> None:
    contenders = (
        OURS,
        Contender("lacking", _lacking, ""),
        Contender("wrong", _Wrong, ""),
        Contender("failing", _Wrong, "", works=frozenset({"points"})),
    )

    async def absent(url: str) -> dict[str, str]:
        async with batches.opened(contenders, url, batches.expected()) as (clients, absent):
            assert list(clients) == [OURS.name]
            return absent

    with canned.serving() as url:
        found = asyncio.run(absent(url))
    assert found == {
        "lacking": f"nothing for {url}",
        "wrong": "it finds something else",
        "failing": "it fails with RuntimeError",
    }


def test_the_cost_of_a_grant_is_put_in_its_page() -> None:
    """Between its marks; a page without them is left alone."""
    page = f"before\n{grants.START}\nold\n{grants.END}\nafter\n"
    row = grants.Row("RateLimiter", 50, 1.25, 1.0, 200.0, 0.02)
    renewed = grants.renewed(page, grants.table([row]))
    assert renewed.startswith(f"before\n{grants.START}\n\n| budget | callers")
    assert "| 50              | 1.2 (1.0-200) | 0.02                |\n\n" in renewed
    assert renewed.endswith(f"{grants.END}\nafter\n")
    with pytest.raises(ValueError, match="the page has no lines"):
        grants.renewed("nothing", "")


def test_all_that_a_distribution_brings_is_found_once() -> None:
    """Around circles too; not what another Python or an extra would bring."""
    needed = {
        "a": ["B_b>=1", "c; python_version >= '3'", "d; python_version < '3'", "e; extra == 'x'"],
        "b-b": ["C", "a"],
        "c": [],
    }
    assert weight.closure("A", needed.__getitem__) == {"a", "b-b", "c"}


def test_the_weight_is_that_of_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    """All that the project names, all of httpx, and nothing of an extra; no gross regression."""
    found = weight.weights(["httpx", weight.OURS])
    ours, httpx = found[weight.OURS], found["httpx"]
    assert {"htx-async", "attrs", "cattrs", "msgspec"} <= ours.distributions
    assert httpx.distributions < ours.distributions
    assert not {"rich", "cyclopts", "aiohttp", "uvicorn"} & ours.distributions
    assert 500_000 < httpx.size < ours.size
    assert weight.main(["--check"]) == 0
    assert "| httpx " in capsys.readouterr().out


def test_another_dependency_is_a_gross_regression_some_day() -> None:
    """The check can fail."""
    httpx = weight.Weight(frozenset("ab"), 10)
    ours = weight.Weight(frozenset("abcdefghij"), 70)
    assert goals.told(weight.aims({"httpx": httpx, weight.OURS: ours})) == 1
