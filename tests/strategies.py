"""
Hypothesis strategies for responses of HTX.

Valid payloads are drawn as JSON text, so that a number has just the digits that were drawn,
together with the values that the model must have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from hypothesis import strategies as st

BLANKS = st.sampled_from(["", " ", "\n", "\t "])

digits = st.text("0123456789", min_size=1, max_size=40)
"""Digits as text may begin with zeros, numbers in JSON may not."""

whole_numbers = st.one_of(
    st.integers(0, 9), st.integers(0, 2**53), st.integers(2**53, 2**70), st.integers(0, 10**99)
)
fractions = st.builds("{}.{}".format, st.integers(0, 10**30), digits)
exponents = st.builds(
    "{}{}{:d}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 999)
)
plain_amounts = whole_numbers.filter(lambda number: number < 10**60).map(str) | fractions
amounts = st.builds(
    "{}{}{}".format, st.sampled_from(["", "-"]), plain_amounts, exponents | st.just("")
)
"""Amounts as their digits; all of them are JSON numbers too."""

words = st.sampled_from(["spot", "trade", "frozen", "working", "", "new-kind", "Ключ", "a b"])
texts = words | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | amounts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
"""Any JSON at all."""

unknown_fields = st.dictionaries(st.text("xyzXYZ-", min_size=1), json_values, max_size=2)


@attrs.frozen
class Drawn:
    """JSON text, and the values of the model; amounts are their digits."""

    text: str
    expected: Mapping[str, Any]


def json_object(fields: Mapping[str, str]) -> str:
    """Return a JSON object of fields whose values are JSON."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}"


def _keeps_its_sign(amount: str) -> bool:
    # The JSON number `-0` is the integer 0, which has no sign.
    return amount != "-0"


@st.composite
def written_amounts(draw: st.DrawFn) -> tuple[str, str]:
    """Draw an amount: as JSON, text or number, and its digits."""
    amount = draw(amounts)
    bare = draw(st.booleans()) and _keeps_its_sign(amount)
    return (amount if bare else json.dumps(amount)), amount


@st.composite
def written_ids(draw: st.DrawFn) -> tuple[str, int]:
    """Draw an id: as JSON, number or its digits, and the number."""
    number = draw(whole_numbers)
    return (str(number) if draw(st.booleans()) else json.dumps(str(number))), number


@st.composite
def objects(draw: st.DrawFn, fields: Mapping[str, str]) -> str:
    """Draw an object with these fields and some unknown ones, in any order."""
    unknown = {name: json.dumps(value) for name, value in draw(unknown_fields).items()}
    items = draw(st.permutations(list({**unknown, **fields}.items())))
    return draw(BLANKS) + json_object(dict(items)) + draw(BLANKS)


_IRRELEVANT = ["absent", "null", '"invalid"', "true", "[]", '{"a":1}', '""', "[[1]]"]


@st.composite
def entries(draw: st.DrawFn) -> Drawn:
    """Draw a row of a balance."""
    balance_json, balance = draw(written_amounts())
    currency, kind = draw(words), draw(words)
    fields = {
        "currency": json.dumps(currency),
        "type": json.dumps(kind),
        "balance": balance_json,
    }
    expected: dict[str, Any] = {"currency": currency, "type": kind, "balance": balance}
    for name, attribute in (("debt", "debt"), ("available", "available"), ("seq-num", "seq_num")):
        drawn = draw(
            st.sampled_from(_IRRELEVANT).map(lambda junk: (junk, None))
            | (written_ids() if name == "seq-num" else written_amounts())
        )
        if drawn[0] != "absent":
            fields[name] = drawn[0]
        expected[attribute] = drawn[1]
    return Drawn(draw(objects(fields)), expected)


@st.composite
def balances(draw: st.DrawFn) -> Drawn:
    """Draw the balance of an account."""
    rows = draw(st.lists(entries(), max_size=6))
    id_json, number = draw(written_ids())
    kind, state = draw(words), draw(words)
    fields = {
        "id": id_json,
        "type": json.dumps(kind),
        "state": json.dumps(state),
        "list": "[" + ",".join(row.text for row in rows) + "]",
    }
    values = {"id": number, "type": kind, "state": state, "list": [row.expected for row in rows]}
    return Drawn(draw(objects(fields)), values)


@st.composite
def account_lists(draw: st.DrawFn) -> Drawn:
    """Draw a list of accounts."""
    rows, expected = [], []
    for _ in range(draw(st.integers(0, 4))):
        id_json, number = draw(written_ids())
        kind, state, subtype = draw(words), draw(words), draw(words)
        fields = {"id": id_json, "type": json.dumps(kind), "state": json.dumps(state)}
        junk = draw(st.sampled_from(["", "null", "7", "[]"]))
        if subtype or junk:
            fields["subtype"] = json.dumps(subtype) if subtype else junk
        rows.append(draw(objects(fields)))
        expected.append({"id": number, "type": kind, "state": state, "subtype": subtype})
    return Drawn("[" + ",".join(rows) + "]", {"accounts": expected})


@st.composite
def point_balances(draw: st.DrawFn) -> Drawn:
    """Draw a point balance."""
    groups: list[tuple[str, dict[str, Any]]] = []
    for _ in range(draw(st.integers(0, 3))):
        id_json, number = draw(written_ids())
        amount_json, amount = draw(written_amounts())
        time = draw(st.none() | st.integers(0, 253_402_300_799_999))
        fields = {"groupId": id_json, "remainAmt": amount_json}
        if time is not None or draw(st.booleans()):
            fields["expiryDate"] = json.dumps(time)
        values = {"group_id": number, "remain_amt": amount, "milliseconds": time}
        groups.append((draw(objects(fields)), values))
    id_json, number = draw(written_ids())
    amount_json, amount = draw(written_amounts())
    status = draw(words)
    fields = {
        "accountId": id_json,
        "accountStatus": json.dumps(status),
        "acctBalance": amount_json,
    }
    if groups:
        fields["groupIds"] = "[" + ",".join(text for text, _ in groups) + "]"
    else:
        absent = draw(st.sampled_from(["absent", "null", "[]"]))
        fields |= {} if absent == "absent" else {"groupIds": absent}
    expected = {
        "account_id": number,
        "account_status": status,
        "acct_balance": amount,
        "group_ids": [group for _, group in groups],
    }
    return Drawn(draw(objects(fields)), expected)


_PIECES = [b"", b"{", b"]", b",", b"9", b'"', b"\\", b"\\ud800", b"\\udc00", b"\xff", b"\xb4\xed"]
_BROKEN = [
    b"9" * 5_000,
    b"-" + b"9" * 400,
    b"1e9999",
    b'"\\ud800"',
    b'"\xff"',
    b'{"\\udc00":1}',
    b"NaN",
]
_MARK = "(a broken value)"


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[Drawn]) -> bytes:
    """Draw a payload that is valid except for one value or a few bytes."""
    text = draw(valid).text
    if draw(st.booleans()):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 3))
        return text[:start].encode() + draw(st.sampled_from(_PIECES)) + text[end:].encode()
    value = _with_replacement(draw, json.loads(text), draw(json_values | st.just(_MARK)))
    broken = draw(st.sampled_from(_BROKEN))
    return json.dumps(value).encode().replace(json.dumps(_MARK).encode(), broken)


def _with_replacement(draw: st.DrawFn, value: Any, other: Any) -> Any:
    """Return *value* with *other* somewhere in it."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 4)) == 0:
            return {key: inner for key, inner in value.items() if key != name}
        return {**value, name: _with_replacement(draw, value[name], other)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _with_replacement(draw, value[at], other), *value[at + 1 :]]
    return other
