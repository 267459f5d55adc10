"""From JSON to models: exact, patient with what is new, strict with what matters."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import cattrs
import msgspec
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from htx_async import (
    Account,
    AccountBalance,
    BalanceEntry,
    DecodeError,
    PointBalance,
    PointGroup,
)
from htx_async.models import decoding, structure, wire_types
from htx_async.models.decoding import reader, wire
from htx_async.resources import accounts, points
from tests import strategies

READERS = {
    "accounts": accounts.LIST.read,
    "balance": accounts.BALANCE.read,
    "points": points.BALANCE.read,
}
MODELS = {"accounts": tuple[Account, ...], "balance": AccountBalance, "points": PointBalance}
every_reader = pytest.mark.parametrize("name", READERS)


@pytest.fixture(autouse=True)
def _made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test make the converters and the readers: none lives off another one's."""
    monkeypatch.setattr(structure, "_quick", structure._make(telling=False))
    monkeypatch.setattr(structure, "_telling", structure._make(telling=True))
    decoding._structure.cache_clear()
    for name, model in MODELS.items():
        monkeypatch.setitem(READERS, name, reader(model))


def digits_of(amount: Decimal) -> tuple[Any, ...]:
    """Return an amount digit for digit: `==` would take 1.0 for 1.00."""
    return amount.as_tuple()


def as_written(text: str) -> tuple[Any, ...]:
    return Decimal(text).as_tuple()


def maybe_written(text: str | None) -> tuple[Any, ...] | None:
    return None if text is None else as_written(text)


def maybe_digits(amount: Decimal | None) -> tuple[Any, ...] | None:
    return None if amount is None else digits_of(amount)


def floats_in(value: object) -> list[float]:
    """Return every float that a model holds."""
    if isinstance(value, float):
        return [value]
    kind: Any = type(value)
    if attrs.has(kind):
        return floats_in([getattr(value, field.name) for field in attrs.fields(kind)])
    if isinstance(value, (list, tuple)):
        return [found for each in value for found in floats_in(each)]
    return []


def balance_with(balance: str = '"1"', **row: str) -> bytes:
    """Return the JSON of a balance of one row; values are JSON."""
    entry = {"currency": '"usdt"', "type": '"trade"', "balance": balance, **row}
    fields = {"id": "1", "type": '"spot"', "state": '"working"'}
    return strategies.written({**fields, "list": f"[{strategies.written(entry)}]"}).encode()


def read(name: str, data: bytes) -> object:
    """Return what *data* is read as, or the `DecodeError`; no other error is caught."""
    try:
        return READERS[name](data)
    except DecodeError as error:
        return error


def fault(name: str, data: bytes) -> DecodeError:
    """Return the error that *data* is read with."""
    with pytest.raises(DecodeError) as caught:
        READERS[name](data)
    return caught.value


def by_converter(converter: cattrs.Converter, name: str, data: bytes) -> Any:
    """Return the model that *converter* makes; `None`: it makes none."""
    try:
        return converter.structure(decoding._decoder.decode(data), MODELS[name])
    except (ValueError, KeyError, cattrs.BaseValidationError, msgspec.MsgspecError):
        return None


@given(strategies.balances())
def test_a_balance_says_what_the_wire_says(drawn: strategies.Drawn) -> None:
    """Ids beyond 2**53, amounts as text or number: digit for digit; unknown things parse."""
    balance = accounts.BALANCE.read(drawn.text.encode())
    said = drawn.said
    assert (balance.id, balance.type, balance.state) == (said["id"], said["type"], said["state"])
    assert [(row.currency, row.type, row.seq_num) for row in balance.entries] == [
        (row["currency"], row["type"], row["seq_num"]) for row in said["list"]
    ]
    assert [digits_of(row.balance) for row in balance.entries] == [
        as_written(row["balance"]) for row in said["list"]
    ]
    assert [(maybe_digits(row.debt), maybe_digits(row.available)) for row in balance.entries] == [
        (maybe_written(row["debt"]), maybe_written(row["available"])) for row in said["list"]
    ]
    assert not floats_in(balance)


@given(strategies.account_lists())
def test_a_list_of_accounts_says_what_the_wire_says(drawn: strategies.Drawn) -> None:
    """Every account in HTX's order; without a subtype it is empty text."""
    assert [attrs.asdict(account) for account in accounts.LIST.read(drawn.text.encode())] == (
        drawn.said["accounts"]
    )


@given(strategies.point_balances())
def test_a_point_balance_says_what_the_wire_says(drawn: strategies.Drawn) -> None:
    """Amounts digit for digit, moments to the millisecond; without groups there are none."""
    balance = points.BALANCE.read(drawn.text.encode())
    said = drawn.said
    assert (balance.account_id, balance.account_status) == (
        said["account_id"],
        said["account_status"],
    )
    assert digits_of(balance.acct_balance) == as_written(said["acct_balance"])
    assert isinstance(balance.group_ids, tuple)
    assert [(group.group_id, digits_of(group.remain_amt)) for group in balance.group_ids] == [
        (group["group_id"], as_written(group["remain_amt"])) for group in said["group_ids"]
    ]
    milliseconds = [group["milliseconds"] for group in said["group_ids"]]
    for group, at in zip(balance.group_ids, milliseconds, strict=True):
        assert group.is_termless == (group.group_id == 0)
        if at is None:
            assert group.expiry_date is None
        else:
            assert group.expiry_date is not None
            assert group.expiry_date.tzinfo is UTC
            since = group.expiry_date - datetime(1970, 1, 1, tzinfo=UTC)
            assert (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000 == at
    assert not floats_in(balance)


@every_reader
@given(data=strategies.json_values.map(json.dumps).map(str.encode) | st.binary(max_size=40))
def test_anything_else_is_a_decode_error(name: str, data: bytes) -> None:
    """Any JSON and any bytes give the model or a `DecodeError`, never another error."""
    model = {"accounts": tuple, "balance": AccountBalance, "points": PointBalance}[name]
    outcome = read(name, data)
    assert isinstance(outcome, model | DecodeError)
    if isinstance(outcome, DecodeError):
        assert outcome.path.startswith("data")
        assert outcome.__cause__ is None
        assert outcome.__context__ is None


@every_reader
@given(draw=st.data())
def test_what_is_nearly_right_is_right_or_a_decode_error(name: str, draw: st.DataObject) -> None:
    """With one value or a few bytes changed: the model or a `DecodeError`, by both converters."""
    right = {
        "accounts": strategies.account_lists(),
        "balance": strategies.balances(),
        "points": strategies.point_balances(),
    }[name]
    data = draw.draw(strategies.mutated(right))
    outcome = read(name, data)
    assert by_converter(structure._quick, name, data) == by_converter(
        structure._telling, name, data
    )
    if isinstance(outcome, DecodeError):
        assert outcome.path.startswith("data")
        assert str(outcome).startswith(f"the answer cannot be read: {outcome.path} ")


@pytest.mark.parametrize(
    ("name", "data", "path", "what"),
    [
        ("accounts", "{}", "data", "must be a list"),
        ("accounts", "null", "data", "must be a list"),
        ("accounts", "[7]", "data[0]", "must be an object"),
        ("accounts", '[{"id":1,"type":"a","state":"b"},{}]', "data[1].id", "is missing"),
        ("accounts", '[{"id":true,"type":"a","state":"b"}]', "data[0].id", "a whole number"),
        ("accounts", '[{"id":-1,"type":"a","state":"b"}]', "data[0].id", "a whole number"),
        ("accounts", '[{"id":1.0,"type":"a","state":"b"}]', "data[0].id", "a whole number"),
        ("accounts", '[{"id":1e3,"type":"a","state":"b"}]', "data[0].id", "a whole number"),
        ("accounts", '[{"id":"1e3","type":"a","state":"b"}]', "data[0].id", "a whole number"),
        ("accounts", '[{"id":"","type":"a","state":"b"}]', "data[0].id", "a whole number"),
        ("accounts", '[{"id":1,"type":7,"state":"b"}]', "data[0].type", "must be text"),
        ("accounts", '[{"id":1,"type":1.5,"state":"b"}]', "data[0].type", "must be text"),
        ("accounts", '[{"id":1,"type":"a","state":null}]', "data[0].state", "must be text"),
        ("balance", "[]", "data", "must be an object"),
        ("balance", '{"id":1,"type":"a","state":"b"}', "data.list", "is missing"),
        ("balance", '{"id":1,"type":"a","state":"b","list":null}', "data.list", "must be a list"),
        ("balance", '{"id":1,"type":"a","state":"b","list":{}}', "data.list", "must be a list"),
        ("points", '{"accountStatus":"a","acctBalance":"1"}', "data.accountId", "is missing"),
        ("points", '{"accountId":1,"acctBalance":"1"}', "data.accountStatus", "is missing"),
        ("points", '{"accountId":1,"accountStatus":"a"}', "data.acctBalance", "is missing"),
        (
            "points",
            '{"accountId":1,"accountStatus":"a","acctBalance":"1","groupIds":[{"groupId":1}]}',
            "data.groupIds[0].remainAmt",
            "is missing",
        ),
        (
            "points",
            '{"accountId":1,"accountStatus":"a","acctBalance":"1","groupIds":[7]}',
            "data.groupIds[0]",
            "must be an object",
        ),
        ("points", '{"accountId":1', "data", "is no JSON"),
        ("points", "[" * 100_000, "data", "is no JSON"),
        ("points", '{"a":' * 100_000, "data", "is no JSON"),
        ("points", "9" * 5_000, "data", "is no JSON"),
        ("points", "", "data", "is no JSON"),
    ],
)
def test_what_matters_and_is_wrong_is_named_by_its_path(
    name: str, data: str, path: str, what: str
) -> None:
    """A `DecodeError` tells where, as on the wire, and what should be there."""
    error = fault(name, data.encode())
    assert error.path == path
    assert what in str(error)
    assert path in str(error)
    assert error.delivery == "answered"
    assert not error.retryable


def test_the_path_counts_the_rows() -> None:
    """The row that is wrong is named, not the first one."""
    row = {"currency": "usdt", "type": "trade", "balance": "1"}
    rows = [row, row, row, {**row, "balance": "1,000"}, row]
    data = {"id": 1, "type": "spot", "state": "working", "list": rows}
    assert fault("balance", json.dumps(data).encode()).path == "data.list[3].balance"


@pytest.mark.parametrize(
    "balance",
    [
        '"91.850043797676510303"',
        '"0E-18"',
        '"-2.433000000000000000"',
        '"1e+5"',
        '"007"',
        '"-0"',
        '"1E-999"',
        "91.850043797676510303",
        "0.1",
        "-0.0",
        "1E400",
        "18446744073709551617",
        "123456789012345678901234567890.123456789012345678901234567890",
        '"' + "9" * 100 + '"',
    ],
)
def test_an_amount_is_kept_digit_for_digit(balance: str) -> None:
    """Text or number, with its zeros and its exponent."""
    (entry,) = accounts.BALANCE.read(balance_with(balance)).entries
    assert digits_of(entry.balance) == as_written(balance.strip('"'))


@pytest.mark.parametrize(
    "balance",
    [
        '""',
        '" 1"',
        '"1\\n"',
        '"+1"',
        '".5"',
        '"5."',
        '"1,000"',
        '"1_000"',
        '"0x10"',
        '"NaN"',
        '"Infinity"',
        '"-"',
        '"e5"',
        '"1e"',
        '"1e1000"',
        '"1e+0001"',
        '"--1"',
        '"\\u0661"',
        '"\\uff11"',
        '"invalid"',
        '"' + "9" * 101 + '"',
        "9" * 101,
        "1e1000",
        "1" + "0" * 99 + ".0",
        "null",
        "true",
        "false",
        "{}",
        "[]",
        '["1"]',
    ],
)
def test_what_is_no_amount_is_refused(balance: str) -> None:
    """Nothing but ASCII digits, a point and an exponent, at most 100 characters."""
    assert fault("balance", balance_with(balance)).path == "data.list[0].balance"


@pytest.mark.parametrize(
    "junk", ["null", '"invalid"', '""', "true", "[]", "[1]", "{}", '{"a":[]}', '"1 "']
)
@pytest.mark.parametrize("name", ["debt", "available", "seq-num"])
def test_what_does_not_matter_may_be_anything(name: str, junk: str) -> None:
    """`debt`, `available` and `seq-num` are `None` where they are no number."""
    (entry,) = accounts.BALANCE.read(balance_with(**{name: junk})).entries
    assert entry == BalanceEntry("usdt", entry.type, Decimal(1), None, None, None)


def test_what_does_not_matter_is_read_where_it_can_be() -> None:
    """Recorded in 2025: `available` on trade rows is a number."""
    data = balance_with('"0"', debt='"0"', available='"5.50"', **{"seq-num": '"477"'})
    (entry,) = accounts.BALANCE.read(data).entries
    assert (str(entry.debt), str(entry.available), entry.seq_num) == ("0", "5.50", 477)


def test_a_negative_or_broken_serial_number_is_none() -> None:
    """An amount may be negative, a serial number may not."""
    for junk in ("-1", '"-1"', "1.0", '"1.0"'):
        (entry,) = accounts.BALANCE.read(balance_with(**{"seq-num": junk})).entries
        assert entry.seq_num is None


@pytest.mark.parametrize("groups", ["", '"groupIds":null,', '"groupIds":{},', '"groupIds":"x",'])
def test_without_groups_there_are_none(groups: str) -> None:
    """An absent, null or malformed `groupIds` is empty."""
    data = "{" + groups + '"accountId":"1","accountStatus":"working","acctBalance":"0"}'
    assert points.BALANCE.read(data.encode()).group_ids == ()


@pytest.mark.parametrize("account_id", ["14403739", '"14403739"'])
def test_the_account_id_may_be_text_or_number(account_id: str) -> None:
    """HTX's page says text, its example a number, other clients both."""
    data = f'{{"accountId":{account_id},"accountStatus":"working","acctBalance":"0"}}'
    assert points.BALANCE.read(data.encode()).account_id == 14403739


@pytest.mark.parametrize(
    ("expiry", "expected"),
    [
        ("1594396800000", datetime(2020, 7, 10, 16, tzinfo=UTC)),
        ('"1594396800001"', datetime(2020, 7, 10, 16, 0, 0, 1000, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("253402300799999", datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        ("253402300800000", None),
        ("9" * 90, None),
        ("-1", None),
        ("null", None),
        ('"never"', None),
        ("1.5", None),
    ],
)
def test_the_expiry_is_a_moment_in_utc(expiry: str, expected: datetime | None) -> None:
    """Milliseconds since 1970; what is no such moment does not matter."""
    group = f'{{"groupId":26,"remainAmt":"0.3","expiryDate":{expiry}}}'
    data = f'{{"accountId":1,"accountStatus":"a","acctBalance":"1","groupIds":[{group}]}}'.encode()
    assert points.BALANCE.read(data).group_ids[0].expiry_date == expected


def test_the_examples_on_htx_pages_are_read() -> None:
    """The seed examples of HTX's pages, as they stand there."""
    balance = accounts.BALANCE.read(
        b'{"id":1000001,"type":"spot","state":"working","list":['
        b'{"currency":"usdt","type":"trade","balance":"91.850043797676510303",'
        b'"debt":"invalid","available":"invalid","seq-num":"477"},'
        b'{"currency":"usdt","type":"frozen","balance":"5.160000000000000015",'
        b'"debt":"invalid","available":"invalid","seq-num":"477"}]}'
    )
    assert balance["usdt"].total == Decimal("97.010043797676510318")
    assert accounts.LIST.read(
        b'[{"id":10000001,"type":"spot","subtype":"","state":"working"}]'
    ) == (Account(10000001, balance.type, "", balance.state),)
    found = points.BALANCE.read(
        b'{"accountId":"14403739","groupIds":[{"groupId":26,"expiryDate":1594396800000,'
        b'"remainAmt":"0.3"}],"acctBalance":"0.30000000","accountStatus":"working"}'
    )
    assert found.group_ids == (
        PointGroup(26, datetime(2020, 7, 10, 16, tzinfo=UTC), Decimal("0.3")),
    )
    assert str(found.acct_balance) == "0.30000000"


def test_the_error_shows_nothing_of_the_data() -> None:
    """What came in `data` may echo the request, and the error is shown anywhere."""
    data = b'{"url":"AccessKeyId=abcdef","id":"abcdef","note":"\xff"}'
    for name in READERS:
        assert "abcdef" not in repr(fault(name, data))
        assert "abcdef" not in repr(fault(name, data.replace(b"\xff", b"")))


@given(strategies.balances())
def test_a_model_becomes_json_with_plain_amounts(drawn: strategies.Drawn) -> None:
    """In JSON an amount is text without exponent, of the same value."""
    balance = accounts.BALANCE.read(drawn.text.encode())
    said = json.loads(json.dumps(balance.to_dict()))
    shown = [row["balance"] for row in said["entries"]]
    assert [Decimal(amount) for amount in shown] == [row.balance for row in balance.entries]
    assert not any("e" in amount.lower() for amount in shown)
    assert (said["id"], said["type"]) == (balance.id, str(balance.type))


def test_a_moment_becomes_iso_8601() -> None:
    """With its zone; termless is null."""
    assert PointGroup(1, datetime(2020, 7, 10, 16, tzinfo=UTC), Decimal("1E+2")).to_dict() == {
        "group_id": 1,
        "expiry_date": "2020-07-10T16:00:00+00:00",
        "remain_amt": "100",
    }
    assert PointGroup(0, None, Decimal(0)).to_dict()["expiry_date"] is None


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("balance", balance_with("true"), "data.list[0].balance must be a decimal number"),
        ("points", b'{"accountId":-1}', "data.accountId must be a whole number"),
        ("balance", balance_with(type="7.5"), "data.list[0].type must be text"),
        ("balance", b"[]", "data must be an object"),
        ("accounts", b"{}", "data must be a list"),
        ("accounts", b'[{"type":"spot","state":"working"}]', "data[0].id is missing"),
        ("points", b"{", "data is no JSON"),
    ],
)
def test_the_sentence_of_a_fault(name: str, data: bytes, text: str) -> None:
    """Where it is, and what is wanted there."""
    assert str(fault(name, data)) == f"the answer cannot be read: {text}"


@pytest.mark.parametrize("name", ["accounts", "points"])
def test_who_tells_of_faults_is_only_asked_where_there_is_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every answer would be read twice, and no other test would notice."""
    said = {"accounts": strategies.account_lists(), "points": strategies.point_balances()}[name]
    right = find(said, lambda _: True).text.encode()
    nobody = cattrs.Converter()
    nobody.register_structure_hook_func(lambda _: True, lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(structure, "_telling", nobody)
    assert not isinstance(read(name, right), DecodeError)


def test_a_whole_number_has_at_most_a_hundred_digits() -> None:
    """As text, and as a number, which JSON of our own making may have."""
    for value in (10**100 - 1, str(10**100 - 1), 0, "0"):
        assert wire_types.whole(value) == int(value)
    for wrong in (10**100, str(10**100), -1, "-1", True, 1.0, None, ""):
        with pytest.raises(ValueError, match=r"^a whole number$"):
            wire_types.whole(wrong)


def test_a_moment_after_the_year_9999_says_what_it_should_be() -> None:
    """So would a field that matters; those that HTX has may be absent."""
    with pytest.raises(ValueError, match=r"^milliseconds since 1970$"):
        wire_types.moment(253_402_300_800_000)


def test_a_field_is_named_as_on_the_wire_and_keeps_its_options() -> None:
    """The name and what it is when absent are ours; all else goes to attrs."""

    @attrs.frozen
    class Thing:
        number: int = wire("theNumber", repr=False)
        note: int = wire("aNote", absent=7, default=8)

    read: Callable[[bytes], Thing] = reader(Thing)
    assert read(b'{"theNumber":"1","aNote":2}') == Thing(1, 2)
    assert read(b'{"theNumber":1,"aNote":"two"}') == Thing(1, 7)
    assert read(b'{"theNumber":1}') == Thing(1, 7)
    assert Thing(1).note == 8
    assert "number" not in repr(Thing(1))
    with pytest.raises(DecodeError, match=r"data\.theNumber must be a whole number"):
        read(b'{"theNumber":"x"}')


def test_a_word_becomes_plain_text() -> None:
    """Whoever gets it need not know our kinds of words."""
    account = accounts.LIST.read(b'[{"id":1,"type":"spot","state":"working"}]')[0]
    said = account.to_dict()
    assert said == {"id": 1, "type": "spot", "subtype": "", "state": "working"}
    assert {type(said["type"]), type(said["state"])} == {str}
