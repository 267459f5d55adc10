"""What the other clients are made of: a plain signature, plain models, a plain look at them."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlencode

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, override

from tests.benchmarks.answers import LOOKED_UP

ACCESS_KEY: Final = "bench-marks-access-key"
SECRET_KEY: Final = "bench-marks-secret-key"
BALANCE: Final = "/v1/account/accounts/{}/balance"
POINTS: Final = "/v2/point/account"
_COUNTED: Final = ("trade", "frozen")


def signed(host: str, path: str) -> str:
    """Return *path* with its signed query, as one writes it down: urlencode and hmac."""
    query = urlencode(
        {
            "AccessKeyId": ACCESS_KEY,
            "SignatureMethod": "HmacSHA256",
            "SignatureVersion": "2",
            "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
        },
        quote_via=quote,
    )
    digest = hmac.digest(SECRET_KEY.encode(), f"GET\n{host}\n{path}\n{query}".encode(), "sha256")
    return f"{path}?{query}&{urlencode({'Signature': base64.b64encode(digest)})}"


class Found(NamedTuple):
    """What a client found: the totals of the ten currencies, and how many have any amount."""

    totals: tuple[Decimal, ...]
    nonzero: int


class Entry(Protocol):
    """A row of a balance."""

    @property
    def currency(self) -> str:
        """Its currency."""
        ...

    @property
    def type(self) -> str:
        """Its type."""
        ...

    @property
    def balance(self) -> Decimal:
        """Its amount."""
        ...


def look(rows: Sequence[Entry]) -> Found:
    """Look up the ten currencies and gather the rows of those with any amount, quickly."""
    nonzero = {row.currency for row in rows if row.balance}
    wanted = nonzero.union(LOOKED_UP)
    kept: dict[str, list[Entry]] = {}
    for row in rows:
        if row.currency in wanted:
            kept.setdefault(row.currency, []).append(row)
    return Found(tuple(_total(kept[currency]) for currency in LOOKED_UP), len(nonzero))


def _total(rows: Sequence[Entry]) -> Decimal:
    return sum((row.balance for row in rows if row.type in _COUNTED), Decimal(0))


def look_at_text(rows: Sequence[dict[str, str]]) -> Found:
    """Do the same with rows that are dicts of strings."""
    nonzero = {row["currency"] for row in rows if Decimal(row["balance"])}
    wanted = nonzero.union(LOOKED_UP)
    kept: dict[str, list[Decimal]] = {}
    for row in rows:
        if row["currency"] in wanted and row["type"] in _COUNTED:
            kept.setdefault(row["currency"], []).append(Decimal(row["balance"]))
    totals = (sum(kept[currency], Decimal(0)) for currency in LOOKED_UP)
    return Found(tuple(totals), len(nonzero))


T = TypeVar("T")


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """Either envelope."""

    data: T
    status: str = ""
    code: int = 0

    def opened(self) -> T:
        """Return what is in it, or fail."""
        if self.status != "ok" and self.code != 200:
            msg = "refused"
            raise ValueError(msg)
        return self.data


class Row(msgspec.Struct, frozen=True):
    """All six fields of a row."""

    currency: str
    type: str
    balance: Decimal
    debt: Decimal | None = None
    available: Decimal | None = None
    seq_num: int | None = msgspec.field(name="seq-num", default=None)


class ShortRow(msgspec.Struct, frozen=True):
    """The three fields of a row that matter most."""

    currency: str
    type: str
    balance: Decimal


class Balance(msgspec.Struct, Generic[T], frozen=True):
    """A balance."""

    id: int
    type: str
    state: str
    list: tuple[T, ...]


class Group(msgspec.Struct, frozen=True, rename="camel"):
    """Points that expire together."""

    group_id: int
    remain_amt: Decimal
    expiry_date: int | None = None


class Points(msgspec.Struct, frozen=True, rename="camel"):
    """Points."""

    account_id: int
    account_status: str
    acct_balance: Decimal
    group_ids: tuple[Group, ...] = ()


# Not strict, as `seq-num` and `accountId` are numbers in text.
whole_rows = msgspec.json.Decoder(Answer[Balance[Row]], strict=False)
short_rows = msgspec.json.Decoder(Answer[Balance[ShortRow]], strict=False)
whole_points = msgspec.json.Decoder(Answer[Points], strict=False)


@attrs.frozen
class AttrsRow:
    """All six fields of a row, for cattrs."""

    currency: str
    type: str
    balance: Decimal
    debt: Decimal | None = None
    available: Decimal | None = None
    seq_num: int | None = None


@attrs.frozen
class AttrsBalance:
    """A balance, for cattrs."""

    id: int
    type: str
    state: str
    list: tuple[AttrsRow, ...]


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(Decimal, lambda text, _: Decimal(text))
    rename: Any = override(rename="seq-num")
    hook = make_dict_structure_fn(AttrsRow, converter, seq_num=rename)
    converter.register_structure_hook(AttrsRow, hook)
    return converter


converter = _converter()
