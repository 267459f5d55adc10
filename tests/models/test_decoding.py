"""From JSON to models: exact, tolerant of what is new, strict with what matters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from htx_async import (
    Account,
    AccountBalance,
    AccountType,
    AssetValuation,
    BalanceEntry,
    DecodeError,
    Model,
    PointBalance,
    PointGroup,
)
from htx_async.middleware.parsing import parse_response
from htx_async.models import decoding, wire_types
from htx_async.models.schema import wire
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Response
from tests import strategies
from tests.decoded import decode, fields_of, values_of
from tests.models import reference

MODELS: dict[str, Any] = {
    "accounts": tuple[Account, ...],
    "balance": AccountBalance,
    "points": PointBalance,
}
VALID = {
    "accounts": strategies.account_lists(),
    "balance": strategies.balances(),
    "points": strategies.point_balances(),
}
every_model = pytest.mark.parametrize("name", MODELS)


@contextmanager
def new_converter() -> Iterator[None]:
    """Build the converter and the decoders within: a test does not depend on an earlier one."""
    caches = (decoding._converter, decoding._structure_hook, decoding._decoder)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(autouse=True)
def _new_converter() -> Iterator[None]:
    with new_converter():
        yield


@attrs.frozen
class Inner(Model):
    """An object with a field that matters and one that does not."""

    kind: AccountType | None = attrs.field(metadata=wire("aKind", default=None))
    number: int = attrs.field(metadata=wire("aNumber"))


@attrs.frozen
class Thing(Model):
    """Fields of attrs with defaults of the wire and of the constructor."""

    number: int = attrs.field(repr=False, metadata=wire("theNumber"))
    note: int = attrs.field(default=8, metadata=wire("aNote", default=7))
    inner: Inner | None = attrs.field(default=None, metadata=wire("inner", default=None))


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
    """Return every float that a model contains."""
    if isinstance(value, float):
        return [value]
    if isinstance(value, Model):
        return floats_in(fields_of(value))
    if isinstance(value, (list, tuple)):
        return [number for item in value for number in floats_in(item)]
    return []


def balance_with(balance: str = '"1"', **row: str) -> bytes:
    """Return the JSON of a balance of one row; values are JSON."""
    entry = {"currency": '"usdt"', "type": '"trade"', "balance": balance, **row}
    fields = {"id": "1", "type": '"spot"', "state": '"working"'}
    rows = f"[{strategies.json_object(entry)}]"
    return strategies.json_object({**fields, "list": rows}).encode()


def fault(name: str, data: bytes | str) -> DecodeError:
    """Return the error that *data* is rejected with."""
    with pytest.raises(DecodeError) as caught:
        decode(MODELS[name], data)
    return caught.value


def outcome(name: str, body: bytes) -> Any:
    """Return the values of the model of a response, or its `DecodeError`."""
    endpoint = Endpoint[Any]("/v1/test", RateLimit(1, per=1.0), MODELS[name])
    response = parse_response(endpoint, Response(200, {}, body))
    if response.error is not None:
        assert isinstance(response.error, DecodeError)
        return response.error
    return values_of(response.value)


def check_against_reference(name: str, body: bytes) -> None:
    """Decode a response, and compare the outcome with the reference."""
    actual = outcome(name, body)
    try:
        expected = reference.decoded(name, body)
    except reference.InvalidError:
        assert isinstance(actual, DecodeError)
    else:
        assert actual == expected


def envelope(data: bytes) -> bytes:
    return b'{"status":"ok","data":%b}' % data


@given(strategies.balances())
def test_decoding_a_balance_keeps_every_value(drawn: strategies.Drawn) -> None:
    """Ids beyond 2**53, amounts as text or number: digit for digit. Unknown fields are ignored."""
    balance = decode(AccountBalance, drawn.text)
    expected = drawn.expected
    assert (balance.id, balance.type, balance.state) == (
        expected["id"],
        expected["type"],
        expected["state"],
    )
    assert [(row.currency, row.type, row.seq_num) for row in balance.entries] == [
        (row["currency"], row["type"], row["seq_num"]) for row in expected["list"]
    ]
    assert [digits_of(row.balance) for row in balance.entries] == [
        as_written(row["balance"]) for row in expected["list"]
    ]
    assert [(maybe_digits(row.debt), maybe_digits(row.available)) for row in balance.entries] == [
        (maybe_written(row["debt"]), maybe_written(row["available"])) for row in expected["list"]
    ]
    assert not floats_in(balance)


@given(strategies.account_lists())
def test_decoding_accounts_keeps_every_value(drawn: strategies.Drawn) -> None:
    """Accounts are in HTX's order; a missing subtype is empty text."""
    accounts = decode(tuple[Account, ...], drawn.text)
    assert [attrs.asdict(account) for account in accounts] == drawn.expected["accounts"]


@given(strategies.point_balances())
def test_decoding_points_keeps_every_value(drawn: strategies.Drawn) -> None:
    """Amounts digit for digit, times to the millisecond; without groups the tuple is empty."""
    balance = decode(PointBalance, drawn.text)
    expected = drawn.expected
    assert (balance.account_id, balance.account_status) == (
        expected["account_id"],
        expected["account_status"],
    )
    assert digits_of(balance.acct_balance) == as_written(expected["acct_balance"])
    assert isinstance(balance.group_ids, tuple)
    assert [(group.group_id, digits_of(group.remain_amt)) for group in balance.group_ids] == [
        (group["group_id"], as_written(group["remain_amt"])) for group in expected["group_ids"]
    ]
    milliseconds = [group["milliseconds"] for group in expected["group_ids"]]
    for group, time in zip(balance.group_ids, milliseconds, strict=True):
        assert group.is_termless == (group.group_id == 0)
        if time is None:
            assert group.expiry_date is None
        else:
            assert group.expiry_date is not None
            assert group.expiry_date.tzinfo is UTC
            since = group.expiry_date - datetime(1970, 1, 1, tzinfo=UTC)
            assert (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000 == time
    assert not floats_in(balance)


@every_model
@given(data=strategies.json_values.map(json.dumps).map(str.encode) | st.binary(max_size=40))
def test_decoding_any_other_payload_is_a_decode_error(name: str, data: bytes) -> None:
    """Any JSON and any bytes give a model or a `DecodeError`, never another error."""
    error = outcome(name, envelope(data))
    if isinstance(error, DecodeError):
        assert error.__cause__ is None
        assert error.__context__ is None


@every_model
@given(draw=st.data())
def test_decoding_agrees_with_the_reference(name: str, draw: st.DataObject) -> None:
    """Valid or not, and every value: as `json.loads` and the rules of the contract say."""
    data = draw.draw(
        VALID[name].map(lambda drawn: drawn.text.encode()) | strategies.mutated(VALID[name])
    )
    check_against_reference(name, envelope(data))


BROKEN = {
    "long integer": b"9" * 5_000,
    "negative long integer": b"-" + b"9" * 5_000,
    "long fraction": b"0." + b"1" * 5_000,
    "large exponent": b"1e99999999",
    "lone surrogate": b'"\\ud800"',
    "lone low surrogate": b'"a\\udc00"',
    "surrogates inside": b'{"\\udfff":["\\ud800"]}',
}
VALID_JSON = [
    ("accounts", b'[{"id":1,"type":"spot",%b"subtype":"x","state":"working"}]'),
    ("balance", b'{"id":1,"type":"spot","state":"working",%b"list":[]}'),
    (
        "balance",
        (
            b'{"id":1,"type":"spot","state":"working","list":'
            b'[{"currency":"a","type":"b",%b"balance":"1","debt":"0.50","seq-num":"7"}]}'
        ),
    ),
    ("points", b'{"accountId":1,%b"accountStatus":"a","acctBalance":"1"}'),
    (
        "points",
        (
            b'{"accountId":1,"accountStatus":"a","acctBalance":"1",'
            b'"groupIds":[{"groupId":1,%b"remainAmt":"1"}]}'
        ),
    ),
]


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(("name", "template"), VALID_JSON)
def test_decoding_ignores_a_broken_value_in_an_unknown_field(
    name: str, template: bytes, value: bytes
) -> None:
    """A number of 5,000 digits, or text that is not Unicode, changes nothing else."""
    expected = outcome(name, envelope(template % b""))
    assert not isinstance(expected, DecodeError)
    body = envelope(template % (b'"unknown":%b,' % value))
    assert outcome(name, body) == expected
    check_against_reference(name, body)
    beside = b'{"status":"ok","message":%b,"ts":%b,"data":%b}' % (value, value, template % b"")
    assert outcome(name, beside) == expected


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("balance", balance_with(debt="%b"), "debt"),
        ("balance", balance_with(available="%b"), "available"),
        ("balance", balance_with(**{"seq-num": "%b"}), "seq_num"),
    ],
)
def test_decoding_a_broken_value_in_an_optional_field_is_none(
    name: str, data: bytes, expected: str, value: bytes
) -> None:
    """It does not matter there, and does not hurt the fields that do."""
    (entry,) = decode(MODELS[name], data.replace(b"%b", value)).entries
    assert getattr(entry, expected) is None
    assert entry == BalanceEntry("usdt", entry.type, Decimal(1))
    check_against_reference(name, envelope(data.replace(b"%b", value)))


def test_decoding_text_beside_a_broken_value() -> None:
    """Text outside of ASCII is kept when the response is read again."""
    account = '[{"id":1,"type":"спот","subtype":"£","state":"working","unknown":"\\ud800"}]'
    (decoded,) = decode(tuple[Account, ...], account.encode())
    assert (decoded.type, decoded.subtype) == ("спот", "£")


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_decoding_other_optional_fields_with_a_broken_value(value: bytes) -> None:
    """`subtype`, `expiryDate` and `timestamp` have their default."""
    account = b'[{"id":1,"type":"spot","subtype":%b,"state":"working"}]' % value
    assert decode(tuple[Account, ...], account)[0].subtype == ""
    group = b'{"groupId":1,"remainAmt":"1","expiryDate":%b}' % value
    points = b'{"accountId":1,"accountStatus":"a","acctBalance":"1","groupIds":[%b]}' % group
    assert decode(PointBalance, points).group_ids[0].expiry_date is None
    valuation = b'{"balance":"1","timestamp":%b}' % value
    assert decode(AssetValuation, valuation) == AssetValuation(Decimal(1), None)


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    ("name", "data", "path"),
    [
        (
            "accounts",
            b'[{"id":1,"type":"a","state":"b"},{"id":%b,"type":"a","state":"b"}]',
            "[1].id",
        ),
        ("accounts", b'[{"id":1,"type":%b,"state":"b"}]', "[0].type"),
        ("balance", b'{"id":1,"type":"a","state":"b","list":%b}', ".list"),
        ("balance", balance_with(balance="%b"), ".list[0].balance"),
        ("balance", balance_with(currency="%b"), ".list[0].currency"),
        ("balance", balance_with(type="%b"), ".list[0].type"),
        ("points", b'{"accountId":1,"accountStatus":%b,"acctBalance":"1"}', ".accountStatus"),
        ("points", b'{"accountId":1,"accountStatus":"a","acctBalance":%b}', ".acctBalance"),
    ],
)
def test_decoding_a_broken_value_in_a_field_that_matters_is_an_error(
    name: str, data: bytes, path: str, value: bytes
) -> None:
    """The error has the path, however broken the value is."""
    assert fault(name, data.replace(b"%b", value)).path == f"data{path}"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("balance", balance_with(**{"de?t": '"1"'}).replace(b"?", b"\xfb")),
        ("balance", b'{"id":1,"type":"a","state":"b","list":[],"x":"\xff"}'),
        ("balance", b'{"id":1,"type":"a","state":"b","list":[],"x":{"\xc3(":1}}'),
        ("accounts", b'[{"id":1,"type":"a","state":"b","na\xe9me":1}]'),
        ("accounts", b'[{"id":1,"type":"a\xff","state":"b"}]'),
        ("points", b'{"accountId":1,"accountStatus":"a","acctBalance":"1","x":["\xed\xa0\x80"]}'),
    ],
)
def test_decoding_a_body_that_is_not_utf8_is_an_error(name: str, data: bytes) -> None:
    """Also if the invalid bytes are in a key or in a field that is ignored."""
    assert "not UTF-8" in str(fault(name, data))
    check_against_reference(name, envelope(data))


@pytest.mark.parametrize("groups", ["null", "[]", None])
def test_points_without_groups_are_empty(groups: str | None) -> None:
    """An absent or null `groupIds` is an empty tuple."""
    fields = {"accountId": '"1"', "accountStatus": '"working"', "acctBalance": '"0"'}
    fields |= {} if groups is None else {"groupIds": groups}
    assert decode(PointBalance, strategies.json_object(fields)).group_ids == ()


@pytest.mark.parametrize("groups", ["{}", '"x"', '""', "true", "false", "0", "1.5", '{"0":{}}'])
def test_points_with_groups_of_another_type_are_an_error(groups: str) -> None:
    """Points must not vanish."""
    fields = {"accountId": '"1"', "accountStatus": '"working"', "acctBalance": '"0"'}
    error = fault("points", strategies.json_object({**fields, "groupIds": groups}))
    assert error.path == "data.groupIds"
    assert str(error).endswith("data.groupIds must be a list")


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
        (
            "points",
            (
                '{"accountId":1,"accountStatus":"a","acctBalance":"1",'
                '"groupIds":[{"groupId":1,"remainAmt":"1"},{"groupId":-1,"remainAmt":"1"}]}'
            ),
            "data.groupIds[1].groupId",
            "a whole number",
        ),
        ("points", "9" * 5_000, "data", "must be an object"),
        ("points", '"\\ud800"', "data", "must be an object"),
        ("accounts", '["\\ud800"]', "data", "is malformed"),
        ("points", '{"accountId":1', "", "is not a JSON object"),
        ("points", "[" * 100_000, "", "is not a JSON object"),
        ("points", '{"a":' * 100_000, "", "is not a JSON object"),
        ("points", "", "", "is not a JSON object"),
        ("points", "NaN", "", "is not a JSON object"),
    ],
)
def test_decode_error_has_the_path_and_the_fault(
    name: str, data: str, path: str, what: str
) -> None:
    """A `DecodeError` states where, with HTX's names, and what should be there."""
    error = fault(name, data)
    assert error.path == path
    assert what in str(error)
    assert path in str(error)
    assert error.delivery == "answered"
    assert not error.retryable


def test_decode_error_counts_the_rows() -> None:
    """The path has the index of the malformed row."""
    row = {"currency": "usdt", "type": "trade", "balance": "1"}
    rows = [row, row, row, {**row, "balance": "1,000"}, row]
    data = {"id": 1, "type": "spot", "state": "working", "list": rows}
    assert fault("balance", json.dumps(data)).path == "data.list[3].balance"


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
def test_decoding_an_amount_keeps_every_digit(balance: str) -> None:
    """Text or number, with its zeros and its exponent."""
    (entry,) = decode(AccountBalance, balance_with(balance)).entries
    assert digits_of(entry.balance) == as_written(balance.strip('"'))


@pytest.mark.parametrize(
    "balance",
    [
        '""',
        '" 1"',
        '"1\\n"',
        '"1\\n2"',
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
def test_decoding_a_malformed_amount_is_an_error(balance: str) -> None:
    """Nothing but ASCII digits, a point and an exponent, at most 100 characters."""
    assert fault("balance", balance_with(balance)).path == "data.list[0].balance"


@pytest.mark.parametrize(
    "junk", ["null", '"invalid"', '""', "true", "[]", "[1]", "{}", '{"a":[]}', '"1 "']
)
@pytest.mark.parametrize("name", ["debt", "available", "seq-num"])
def test_decoding_an_optional_field_accepts_anything(name: str, junk: str) -> None:
    """`debt`, `available` and `seq-num` are `None` if they are not a number."""
    (entry,) = decode(AccountBalance, balance_with(**{name: junk})).entries
    assert entry == BalanceEntry("usdt", entry.type, Decimal(1), None, None, None)


def test_decoding_an_optional_field_keeps_a_valid_value() -> None:
    """Recorded in 2025: `available` of trade rows is a number."""
    data = balance_with('"0"', debt='"0"', available='"5.50"', **{"seq-num": '"477"'})
    (entry,) = decode(AccountBalance, data).entries
    assert (str(entry.debt), str(entry.available), entry.seq_num) == ("0", "5.50", 477)


def test_decoding_a_negative_or_fractional_serial_number_is_none() -> None:
    """An amount may be negative, a serial number may not."""
    for junk in ("-1", '"-1"', "1.0", '"1.0"'):
        (entry,) = decode(AccountBalance, balance_with(**{"seq-num": junk})).entries
        assert entry.seq_num is None


@pytest.mark.parametrize("account_id", ["14403739", '"14403739"'])
def test_decoding_an_account_id_accepts_text_and_number(account_id: str) -> None:
    """HTX's page says text, its example is a number, other clients accept both."""
    data = f'{{"accountId":{account_id},"accountStatus":"working","acctBalance":"0"}}'
    assert decode(PointBalance, data).account_id == 14403739


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
def test_decoding_an_expiry_date_gives_utc(expiry: str, expected: datetime | None) -> None:
    """Milliseconds since 1970; anything else does not matter."""
    group = f'{{"groupId":26,"remainAmt":"0.3","expiryDate":{expiry}}}'
    data = f'{{"accountId":1,"accountStatus":"a","acctBalance":"1","groupIds":[{group}]}}'
    assert decode(PointBalance, data).group_ids[0].expiry_date == expected


def test_decoding_the_examples_of_htx_pages() -> None:
    """The example responses as HTX's pages have them."""
    balance = decode(
        AccountBalance,
        '{"id":1000001,"type":"spot","state":"working","list":['
        '{"currency":"usdt","type":"trade","balance":"91.850043797676510303",'
        '"debt":"invalid","available":"invalid","seq-num":"477"},'
        '{"currency":"usdt","type":"frozen","balance":"5.160000000000000015",'
        '"debt":"invalid","available":"invalid","seq-num":"477"}]}',
    )
    assert balance["usdt"].total == Decimal("97.010043797676510318")
    accounts = decode(
        tuple[Account, ...], '[{"id":10000001,"type":"spot","subtype":"","state":"working"}]'
    )
    assert accounts == (Account(10000001, balance.type, "", balance.state),)
    points = decode(
        PointBalance,
        '{"accountId":"14403739","groupIds":[{"groupId":26,"expiryDate":1594396800000,'
        '"remainAmt":"0.3"}],"acctBalance":"0.30000000","accountStatus":"working"}',
    )
    assert points.group_ids == (
        PointGroup(26, datetime(2020, 7, 10, 16, tzinfo=UTC), Decimal("0.3")),
    )
    assert str(points.acct_balance) == "0.30000000"


def test_decode_error_contains_nothing_of_the_data() -> None:
    """`data` is private, and may repeat the request."""
    data = b'{"url":"AccessKeyId=abcdef","id":"abcdef","note":"\xff"}'
    for name in MODELS:
        assert "abcdef" not in repr(fault(name, data))
        assert "abcdef" not in repr(fault(name, data.replace(b"\xff", b"")))


@given(strategies.balances())
def test_to_dict_of_a_decoded_balance_has_plain_amounts(drawn: strategies.Drawn) -> None:
    """In JSON an amount is text without exponent, of the same value."""
    balance = decode(AccountBalance, drawn.text)
    plain = json.loads(json.dumps(balance.to_dict()))
    amounts = [row["balance"] for row in plain["entries"]]
    assert [Decimal(amount) for amount in amounts] == [row.balance for row in balance.entries]
    assert not any("e" in amount.lower() for amount in amounts)
    assert (plain["id"], plain["type"]) == (balance.id, str(balance.type))


def test_to_dict_of_a_time_is_iso_8601() -> None:
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
        (
            "points",
            b'{"accountId":-1,"accountStatus":"a","acctBalance":"1"}',
            "data.accountId must be a whole number",
        ),
        ("balance", balance_with(type="7.5"), "data.list[0].type must be text"),
        ("balance", b"[]", "data must be an object"),
        ("accounts", b"{}", "data must be a list"),
        ("accounts", b'[{"type":"spot","state":"working"}]', "data[0].id is missing"),
    ],
)
def test_decode_error_text(name: str, data: bytes, text: str) -> None:
    """Where the fault is, and what is expected there."""
    assert str(fault(name, data)) == f"GET /v1/test: the response cannot be decoded: {text}"


def test_parse_id_accepts_a_hundred_digits() -> None:
    """As text, and as a number, which `from_dict` may be called with."""
    for value in (10**100 - 1, str(10**100 - 1), 0, "0"):
        assert wire_types.parse_id(value) == int(value)
    for wrong in (10**100, str(10**100), -1, "-1", True, 1.0, None, ""):
        with pytest.raises(wire_types.InvalidValueError) as caught:
            wire_types.parse_id(wrong)
        assert (caught.value.fault, caught.value.path) == ("must be a whole number", "")


def test_parse_timestamp_rejects_times_after_the_year_9999() -> None:
    """The message is that of a field that matters; those that HTX has are optional."""
    with pytest.raises(wire_types.InvalidValueError, match="must be milliseconds since 1970"):
        wire_types.parse_timestamp_ms(253_402_300_800_000)


@given(st.lists(strategies.amounts | st.text("0123456789.eE+-\n ", max_size=8), max_size=5))
@example(["1\n2"])
@example(["1", "1" * 101])
@example(["1" * 100])
@example([""])
def test_all_decimals_agrees_with_parse_decimal(texts: list[str]) -> None:
    """The rule for many amounts is the rule for one."""

    def is_amount(text: str) -> bool:
        try:
            wire_types.parse_decimal(text)
        except wire_types.InvalidValueError:
            return False
        return True

    assert wire_types.all_decimals(texts) == all(map(is_amount, texts))


def test_wire_metadata_gives_name_and_default() -> None:
    """The name and the default in HTX's JSON are ours; everything else is attrs'."""
    assert decode(Thing, '{"theNumber":"1","aNote":2}') == Thing(1, 2)
    assert decode(Thing, '{"theNumber":1,"aNote":"two"}') == Thing(1, 7)
    assert decode(Thing, '{"theNumber":1}') == Thing(1, 7)
    assert Thing(1).note == 8
    assert "number" not in repr(Thing(1))
    with pytest.raises(DecodeError, match=r"data\.theNumber must be a whole number"):
        decode(Thing, '{"theNumber":"x"}')


def test_decoding_an_optional_object_validates_what_is_in_it() -> None:
    """It may be absent or null; if it is there, it must be right."""
    for kind, expected in (('"spot"', AccountType.SPOT), ("null", None), ("7", None)):
        data = f'{{"theNumber":1,"inner":{{"aKind":{kind},"aNumber":2}}}}'
        assert decode(Thing, data).inner == Inner(expected, 2)
    assert decode(Thing, '{"theNumber":1,"inner":null}').inner is None
    for inner, path in (("7", "inner"), ("[]", "inner"), ('{"aNumber":-1}', "inner.aNumber")):
        with pytest.raises(DecodeError) as caught:
            decode(Thing, f'{{"theNumber":1,"inner":{inner}}}')
        assert caught.value.path == f"data.{path}"


def test_decode_json_is_exact() -> None:
    """Numbers with a point or an exponent are `Decimal`s; nothing is a float."""
    plain = decoding.decode_json('{"a":[1.10,2e3,7,"x",null,true]}', "it")
    assert plain == {"a": [Decimal("1.10"), Decimal("2e3"), 7, "x", None, True]}
    assert str(plain["a"][0]) == "1.10"
    for text in ("", "{", b"\xff", "1e1000", "9" * 5000, '"\\ud800"', "[" * 100_000):
        with pytest.raises(DecodeError, match=r"^it cannot be decoded: it is not JSON"):
            decoding.decode_json(text, "it")


def test_to_dict_of_an_enum_is_plain_text() -> None:
    """JSON and data frames need not know our enums."""
    (account,) = decode(tuple[Account, ...], '[{"id":1,"type":"spot","state":"working"}]')
    plain = account.to_dict()
    assert plain == {"id": 1, "type": "spot", "subtype": "", "state": "working"}
    assert {type(plain["type"]), type(plain["state"])} == {str}


def test_parse_str_names_what_is_wrong() -> None:
    with pytest.raises(wire_types.InvalidValueError) as caught:
        wire_types.parse_str(7)
    assert (caught.value.fault, caught.value.path) == ("must be text", "")
    assert caught.value.args == ("must be text", "")
