"""The rules of the session and of merging, one by one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import attrs
import pytest

from htx_async import Account, AccountBalance, AccountState, AccountType, BalanceEntry, BalanceType
from htx_async.stream.events import StreamEvent
from htx_async.stream.follower import Follower
from htx_async.stream.messages import SUBSCRIBE, Ping, Push, Reply, parse
from htx_async.stream.session import Outcome, Session
from tests.stream.world import to_datetime

SPOT = Account(1, AccountType.SPOT, "", AccountState.WORKING)
AUTHENTICATED = {"action": "req", "code": 200, "ch": "auth", "data": {}}
SUBSCRIBED = {"action": "sub", "code": 200, "ch": "accounts.update", "data": {}}


class Harness:
    """A session with one account, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.session = Session()
        self.events: list[StreamEvent] = []
        states = self.session.follow([SPOT], 10.0, 0.0)
        self.state = states[1]
        self.follower = Follower(states, 10.0, self.events.append, lambda _: None, to_datetime)
        self.session.add(self.follower, 0.0)

    def connect(self) -> Outcome:
        self.session.connecting(self.now)
        self.session.opened(self.now)
        assert self.say(AUTHENTICATED).send == [SUBSCRIBE]
        return self.say(SUBSCRIBED)

    def say(self, message: Any) -> Outcome:
        return self.session.receive(json.dumps(message), self.now)

    def push(self, trade: str, seq: Any, currency: str = "usdt", **data: Any) -> Outcome:
        row = {"accountId": 1, "currency": currency, "balance": trade, "available": trade}
        row |= {"seqNum": seq, "changeType": "deposit", "accountType": "trade", **data}
        return self.say({"action": "push", "ch": "accounts.update", "data": row})

    def rest(self, *rows: tuple[str, str, int | None], took: float = 0.1) -> Outcome:
        """Read REST: currency, amount, number."""
        entries = tuple(
            BalanceEntry(currency, BalanceType.TRADE, Decimal(trade), seq_num=seq)
            for currency, trade, seq in rows
        )
        return self.read(entries, took=took)

    def read(self, entries: tuple[BalanceEntry, ...], took: float = 0.1) -> Outcome:
        sent_at, self.now = self.now, self.now + took
        balance = AccountBalance(1, SPOT.type, SPOT.state, entries)
        return self.session.merge(balance, sent_at, self.now)

    def trade(self, currency: str = "usdt") -> str:
        return f"{self.state.currency(currency).trade:f}"

    def status(self) -> str:
        return self.follower.status

    def kinds(self) -> list[str]:
        kinds: list[str] = [event.kind for event in self.events]
        self.events.clear()
        return kinds


@pytest.fixture
def harness() -> Harness:
    """A session that is synced, with numbers that are proved to be comparable."""
    harness = Harness()
    harness.connect()
    for seq in (1, 2):
        harness.push(str(seq), seq)
        harness.rest(("usdt", str(seq), seq))
        harness.now += 10
    assert harness.status() == "synced"
    harness.kinds()
    return harness


def test_larger_number_of_rest_replaces_a_push_and_a_smaller_one_does_not(
    harness: Harness,
) -> None:
    harness.push("3", 3)
    for amount, seq, shown in (("2", 2, "3"), ("4", 4, "4"), ("3", 3, "4")):
        harness.rest(("usdt", amount, seq))
        assert harness.trade() == shown
    harness.push("3.5", 3)  # late
    assert harness.trade() == "4"
    harness.push("5", 5)
    assert harness.trade() == "5"


def test_push_with_a_smaller_number_is_dropped(harness: Harness) -> None:
    harness.push("4", 4)
    for seq, amount in ((3, "3"), (4, "4"), ("2", "2")):
        harness.push(amount, seq)
        assert harness.trade() == "4"
    harness.push("4.5", 4)  # the same number with other amounts: in the order of arrival
    assert harness.trade() == "4.5"


def test_equal_number_with_other_amounts_is_a_contradiction(harness: Harness) -> None:
    """From then on two reads that agree decide, whatever their numbers are."""
    harness.push("3", 3)
    harness.now += 4
    harness.rest(("usdt", "9", 3))
    assert harness.kinds() == ["changed", "contradiction"]
    assert harness.trade() == "3"
    harness.now += 1
    harness.rest(("usdt", "9", 1))
    assert harness.trade() == "3"  # too soon: a push may be on its way
    harness.now += 3
    harness.rest(("usdt", "9", 1))
    assert harness.trade() == "9"


def test_push_between_two_reads_starts_again(harness: Harness) -> None:
    harness.push("3", 3)
    harness.now += 4
    harness.rest(("usdt", "9", 3))
    harness.push("4", 4)
    for shown in ("4", "9"):
        harness.now += 3
        harness.rest(("usdt", "9", 1))
        assert harness.trade() == shown


def test_torn_read_decides_nothing(harness: Harness) -> None:
    """Rows with different numbers may be of different moments."""
    harness.push("3", 4)
    row = BalanceEntry("usdt", BalanceType.TRADE, Decimal(9), seq_num=3)
    frozen = BalanceEntry("usdt", BalanceType.FROZEN, Decimal(1), seq_num=4)
    harness.read((row, frozen))
    assert harness.trade() == "3"
    assert "contradiction" not in harness.kinds()


def test_push_soon_after_a_read_waits_until_it_is_known_to_be_newer() -> None:
    """Without comparable numbers it may have been on its way."""
    harness = Harness()
    harness.connect()
    harness.rest(("usdt", "5", 100))
    harness.push("4", 1)
    assert harness.trade() == "5"
    assert harness.session.next_at <= harness.now + 0.5
    harness.rest(("usdt", "4", 101))  # it was newer
    assert harness.trade() == "4"
    harness.push("3", 2)
    assert harness.trade() == "3"


def test_push_that_waits_invalidates_earlier_reads(harness: Harness) -> None:
    harness.push("50", 50)
    harness.session.cut(harness.now)
    harness.now += 5
    harness.connect()
    harness.rest(("usdt", "9", None))
    harness.push("60", 1)
    harness.now += 3
    harness.rest(("usdt", "9", None))
    assert harness.trade() == "50"


def test_read_that_may_be_behind_does_not_confirm_an_earlier_connection(harness: Harness) -> None:
    """REST may have the same amounts from before."""
    harness.push("50", 50)
    harness.session.cut(harness.now)
    harness.now += 1
    harness.connect()
    for waited, status in ((0, "syncing"), (3, "synced")):
        harness.now += waited
        harness.rest(("usdt", "50", 50))
        assert harness.status() == status


def test_currency_that_rest_does_not_list_becomes_zero(harness: Harness) -> None:
    """After two reads, with an event."""
    harness.push("5", 1, "old")
    harness.rest(("usdt", "2", 2), ("old", "5", 1))
    for _ in range(3):
        harness.now += 4
        harness.rest(("usdt", "2", 2))
    assert harness.trade("old") == "0"
    assert harness.kinds() == ["changed", "changed"]


def test_new_currency_of_rest_is_shown(harness: Harness) -> None:
    harness.rest(("usdt", "2", 2), ("new", "5", 1))
    assert harness.trade("new") == "5"
    harness.push("6", 2, "new")
    assert harness.trade("new") in ("5", "6")
    harness.now += 5
    harness.push("7", 3, "new")
    assert harness.trade("new") == "7"


def test_rows_that_are_not_pushed_are_those_of_rest(harness: Harness) -> None:
    loan = BalanceEntry("usdt", BalanceType.LOAN, Decimal(-5))
    row = BalanceEntry("usdt", BalanceType.TRADE, Decimal(2), seq_num=2)
    harness.read((row, loan))
    (event,) = harness.events
    assert event.change is not None
    change = event.change
    assert (change.type.value, int(change.after), change.cause) == ("loan", -5, "resync")
    harness.push("-7", 3, accountType="loan")
    assert harness.state.currency("usdt").amount("loan") == -5
    assert harness.session.next_at <= harness.now + 0.5
    assert [entry.type for entry in harness.state.balance().entries] == ["trade", "loan"]


def test_counter_that_began_again_is_accepted_after_two_reads(harness: Harness) -> None:
    """On a new connection; until then the earlier value is shown, unsynced."""
    harness.push("50", 50)
    harness.now += 5
    harness.session.cut(harness.now)
    harness.now += 1
    harness.connect()
    harness.push("60", 1)
    assert harness.trade() == "50"
    harness.rest(("usdt", "60", 1))
    assert harness.status() == "syncing"
    harness.push("70", 2)
    harness.rest(("usdt", "70", 2))
    assert harness.trade() == "70"
    assert harness.status() == "synced"


def test_counter_that_begins_again_on_a_connection_renews_it(harness: Harness) -> None:
    """REST's numbers are smaller, and grow."""
    harness.push("50", 50)
    reasons: list[str] = []
    for seq in range(1, 6):
        harness.now += 5
        reasons.append(harness.rest(("usdt", "7", seq)).reconnect)
        assert harness.trade() == "50"
    assert reasons[:2] == ["", ""]
    assert "REST contradicts the stream" in reasons


def test_value_from_an_earlier_connection_is_confirmed(harness: Harness) -> None:
    """By REST alone, if nothing is pushed."""
    harness.session.cut(harness.now)
    assert harness.kinds() == ["gap"]
    harness.now += 1
    harness.connect()
    assert harness.status() == "syncing"
    harness.now += 3
    harness.rest(("usdt", "2", 2))
    assert harness.kinds() == ["resynced", "synced"]


def test_read_that_began_before_the_subscription_is_not_used(harness: Harness) -> None:
    harness.session.cut(harness.now)
    sent_at = harness.now
    harness.now += 1
    harness.connect()
    balance = AccountBalance(1, SPOT.type, SPOT.state, ())
    harness.state.is_reading = True
    outcome = harness.session.merge(balance, sent_at, harness.now)
    assert outcome.audits == [1]
    assert harness.trade() == "2"


def test_result_for_an_account_that_nobody_follows_is_ignored(harness: Harness) -> None:
    balance = AccountBalance(9, SPOT.type, SPOT.state, ())
    assert harness.session.merge(balance, 0.0, 1.0) == Outcome()
    assert harness.session.fail(9, ValueError(), 1.0).audits == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answers",
    [
        [AUTHENTICATED, AUTHENTICATED, SUBSCRIBED, SUBSCRIBED],
        [{"action": "req", "code": 200}, SUBSCRIBED],
        [{"code": "200"}, {**SUBSCRIBED, "ch": "accounts.update#0"}],
    ],
)
def test_acks_may_vary(answers: list[Any]) -> None:
    """Repeated, in another mode, or without names."""
    harness = Harness()
    harness.session.opened(0.0)
    sent = [text for answer in answers for text in harness.say(answer).send]
    assert sent == [SUBSCRIBE]
    assert harness.session.phase == "syncing"


def test_push_before_the_ack_is_applied() -> None:
    harness = Harness()
    harness.session.opened(0.0)
    harness.say(AUTHENTICATED)
    harness.push("5", 1)
    harness.say(SUBSCRIBED)
    harness.rest(("usdt", "5", 1))
    assert (harness.trade(), harness.status()) == ("5", "synced")


@pytest.mark.parametrize("step", [0, 1])
def test_step_without_an_answer_ends_the_connection(step: int) -> None:
    """After 10 s."""
    harness = Harness()
    harness.session.opened(0.0)
    if step:
        harness.say(AUTHENTICATED)
    assert harness.session.next_at == 10.0
    assert not harness.session.tick(9.9).reconnect
    assert "within 10 s" in harness.session.tick(10.0).reconnect
    assert not harness.session.tick(10.1).reconnect


@pytest.mark.parametrize(
    ("message", "parsed"),
    [
        ('{"action":"ping","data":{"ts":5}}', Ping(5)),
        ('{"code":2001,"message":"invalid.action"}', Reply("", 2001, "invalid.action")),
        (
            '{"action":"sub","code":500,"ch":"x","message":"系统异常:"}',
            Reply("x", 500, "系统异常:"),
        ),
        ('{"action":"new","code":true,"ch":1,"message":[]}', Reply("", None, "")),
        ("{", None),
        ("[" * 10_000, None),
        (b"\xff", None),
        ('{"action":"push","ch":"accounts.update","data":[]}', None),
        ('{"action":"push","ch":"orders#x","data":{}}', None),
    ],
)
def test_messages(message: str | bytes, parsed: Any) -> None:
    assert parse(message) == parsed


@pytest.mark.parametrize(
    ("balance", "available", "frozen"),
    [
        ('"115.096849200715990336"', '"104.296849200715990293"', "10.800000000000000043"),
        ('"0E-18"', '"0"', "0"),
        ("2.50", "1", "1.50"),
        ("3", '"3"', "0"),
    ],
)
def test_amounts_are_exact(balance: str, available: str, frozen: str) -> None:
    """Text or numbers; the frozen amount is the difference."""
    row = f'"accountId":"68824237","currency":"usdt","balance":{balance},"available":{available}'
    push = parse(f'{{"action":"push","ch":"accounts.update#2","data":{{{row}}}}}')
    assert isinstance(push, Push)
    assert push.amounts is not None
    assert push.amounts.frozen == Decimal(frozen)
    assert (push.account_id, push.account_type, push.seq, push.cause) == (
        68824237,
        "trade",
        None,
        None,
    )


def test_rows_of_one_type_are_added(harness: Harness) -> None:
    """A push replaces them all."""
    rows = [BalanceEntry("x", BalanceType.TRADE, Decimal(each), seq_num=1) for each in (1, 2)]
    harness.read((*rows, BalanceEntry("usdt", BalanceType.TRADE, Decimal(2), seq_num=2)))
    assert harness.trade("x") == "3"
    harness.now += 5
    harness.push("7", 2, "x")
    assert harness.trade("x") == "7"
    assert len(harness.state.currency("x").entries) == 1


def test_loss_is_reported_to_the_streams_of_its_account(harness: Harness) -> None:
    other = attrs.evolve(SPOT, id=2)
    events: list[StreamEvent] = []
    states = harness.session.follow([other], 10.0, harness.now)
    harness.session.add(
        Follower(states, 10.0, events.append, lambda _: None, to_datetime), harness.now
    )
    harness.rest(("usdt", "9", 9))
    harness.now += 11
    harness.session.tick(harness.now)
    assert "gap" in harness.kinds()
    assert "lost_push" not in [event.reason for event in events]
