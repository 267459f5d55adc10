"""Records in data frames, and flags, which HTX writes in several ways."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from htx_async import HistoryRecord, TransactType
from htx_async.models.wire_types import InvalidValueError, parse_bool

RECORDS = tuple(
    HistoryRecord(
        1000001,
        "usdt",
        359044707902783800 + number,
        Decimal(f"-10.00000000000000000{number}"),
        TransactType.TRADE,
        Decimal("0E-18"),
        Decimal("87.010043797676510318"),
        datetime(2026, 1, 31, 12, 0, number, tzinfo=UTC),
    )
    for number in range(3)
)


def test_pandas_frame_of_records() -> None:
    """Ids beyond 2**53 are exact; amounts are text, or `Decimal` with all digits; times parse."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(record.to_dict() for record in RECORDS)
    assert frame["record_id"].to_list() == [record.record_id for record in RECORDS]
    amounts = frame["transact_amt"].map(Decimal)
    assert amounts.sum() == sum(record.transact_amt for record in RECORDS)
    times = pandas.to_datetime(frame["transact_time"])
    assert times.to_list() == [record.transact_time for record in RECORDS]


def test_polars_frame_of_records() -> None:
    """The same."""
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame([record.to_dict() for record in RECORDS], infer_schema_length=None)
    assert frame["record_id"].to_list() == [record.record_id for record in RECORDS]
    amounts = frame["transact_amt"].str.to_decimal(scale=18)
    assert amounts.to_list() == [record.transact_amt for record in RECORDS]
    times = frame["transact_time"].str.to_datetime(time_zone="UTC")
    assert times.to_list() == [record.transact_time for record in RECORDS]


@pytest.mark.parametrize("value", [True, 1, "1", "true", "True"])
def test_flag_that_is_true(value: Any) -> None:
    assert parse_bool(value) is True


@pytest.mark.parametrize("value", [False, 0, "0", "false", "FALSE"])
def test_flag_that_is_false(value: Any) -> None:
    assert parse_bool(value) is False


@pytest.mark.parametrize("value", [None, 2, -1, "", "yes", "2", 1.0, [], {}])
def test_flag_that_is_malformed(value: Any) -> None:
    with pytest.raises(InvalidValueError, match="must be true or false"):
        parse_bool(value)
