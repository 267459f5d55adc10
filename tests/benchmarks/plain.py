"""What the other clients are made of: a plain signature, plain models, a plain lookup."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from tests.benchmarks.bodies import LOOKED_UP, ROWS

ACCESS_KEY: Final = "bench-marks-access-key"
SECRET_KEY: Final = "bench-marks-secret-key"
BALANCE: Final = f"/v1/account/accounts/{ROWS}/balance"
POINTS: Final = "/v2/point/account"
_SUMMED: Final = ("trade", "frozen")


def signed(host: str, path: str) -> str:
    """Return *path* with its signed query, written plainly with `urlencode` and `hmac`."""
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


class Holdings(NamedTuple):
    """What every client must find: the totals of ten currencies, and the number not zero."""

    totals: tuple[Decimal, ...]
    nonzero: int


def look_up(rows: Sequence[Any]) -> Holdings:
    """Look up the ten currencies and gather the rows of those that are not zero, quickly."""
    nonzero = {row.currency for row in rows if row.balance}
    wanted = nonzero.union(LOOKED_UP)
    kept: dict[str, list[Any]] = {}
    for row in rows:
        if row.currency in wanted:
            kept.setdefault(row.currency, []).append(row)
    totals = (
        sum((row.balance for row in kept[currency] if row.type in _SUMMED), Decimal(0))
        for currency in LOOKED_UP
    )
    return Holdings(tuple(totals), len(nonzero))


def look_up_text(rows: Sequence[dict[str, str]]) -> Holdings:
    """Do the same with rows that are dicts of strings."""
    nonzero = {row["currency"] for row in rows if Decimal(row["balance"])}
    wanted = nonzero.union(LOOKED_UP)
    kept: dict[str, list[Decimal]] = {}
    for row in rows:
        if row["currency"] in wanted and row["type"] in _SUMMED:
            kept.setdefault(row["currency"], []).append(Decimal(row["balance"]))
    totals = (sum(kept[currency], Decimal(0)) for currency in LOOKED_UP)
    return Holdings(tuple(totals), len(nonzero))


T = TypeVar("T")


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """Either envelope."""

    data: T
    status: str = ""
    code: int = 0

    def payload(self) -> T:
        """Return `data` of a successful response."""
        if self.status != "ok" and self.code != 200:
            msg = "API error"
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


class Balance(msgspec.Struct, frozen=True):
    """A balance."""

    id: int
    type: str
    state: str
    list: tuple[Row, ...]


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


# Not strict: `seq-num` and `accountId` are numbers in text.
whole_rows = msgspec.json.Decoder(Envelope[Balance], strict=False)
whole_points = msgspec.json.Decoder(Envelope[Points], strict=False)
