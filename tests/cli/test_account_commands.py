"""Commands for movements, valuations, keys and sub users: tables, CSV, JSON and progress."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest

from htx_async import (
    APIKeyInfo,
    APIKeyStatus,
    DistributionType,
    HistoryRecord,
    LedgerRecord,
    Model,
    Permission,
    PlatformValuation,
    TransactType,
    TransferType,
)
from htx_async.cli import account_tables, progress, session
from htx_async.cli.csv_export import write_models
from htx_async.cli.exit_codes import OK, USAGE_ERROR
from htx_async.cli.main import run
from htx_async.models.valuation import DistributionValuation
from tests.cli.terminal import Terminal
from tests.cli.test_tables import rendered

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)
AMOUNT = Decimal("-10.000000000000000001")
HISTORY = HistoryRecord(1, "usdt", 5, AMOUNT, TransactType.TRADE, AMOUNT, Decimal("1E+3"), TIME)
LEDGER = LedgerRecord(
    1, "usdt", AMOUNT, TransactType.TRANSFER, TransferType.OTC_TO_SPOT, 7, TIME, 1, None
)
KEY = APIKeyInfo(
    "",
    APIKeyStatus.NORMAL,
    (Permission.READ_ONLY, Permission.TRADE),
    ("1.2.3.4",),
    None,
    TIME,
    None,
)
PARTS = (
    DistributionValuation(DistributionType.SPOT, None, True, Decimal("0.5")),  # noqa: FBT003 - a value
    DistributionValuation(DistributionType("99"), None, False, Decimal(0)),  # noqa: FBT003 - a value
)
VALUATION = PlatformValuation(Decimal("0.5"), Decimal("-0.1"), Decimal("-0.1667"), PARTS, None)


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize(
    "table",
    [
        account_tables.history([HISTORY], TIME),
        account_tables.ledger([LEDGER], TIME),
        account_tables.platform_valuation(VALUATION, "BTC"),
        account_tables.key(KEY),
        account_tables.sub_users([]),
    ],
    ids=lambda table: table.title,
)
def test_table_fits_the_terminal(table: Any, width: int) -> None:
    """No amount is cut."""
    lines = rendered(table, width).splitlines()
    assert max(map(len, lines)) <= width
    if table.title in ("History", "Ledger"):
        assert "-10.000000000000000001" in "".join(lines)


def test_history_shows_what_fits() -> None:
    assert "record" in rendered(account_tables.history([HISTORY], TIME), 160)
    narrow = rendered(account_tables.history([HISTORY], TIME), 80)
    assert "record" not in narrow
    assert "2026-01-31 12:00:00" in narrow


def test_platform_valuation_names_its_parts() -> None:
    """A part that HTX could not value is not shown as 0."""
    text = rendered(account_tables.platform_valuation(VALUATION, "BTC"))
    assert "spot" in text
    assert "failed" in text
    assert "profit of today: -0.1 BTC (-16.67%)" in text
    rateless = attrs.evolve(VALUATION, today_profit_rate=None)
    assert "-0.1 BTC\n" in rendered(account_tables.platform_valuation(rateless, "BTC"))
    silent = attrs.evolve(VALUATION, today_profit=None)
    assert "profit" not in rendered(account_tables.platform_valuation(silent, "BTC"))


def test_key_shows_permissions_addresses_and_expiry() -> None:
    text = rendered(account_tables.key(KEY))
    for expected in ("readOnly, trade", "1.2.3.4", "never", "unknown"):
        assert expected in text
    bound = rendered(account_tables.key(attrs.evolve(KEY, ip_addresses=(), valid_days=7)))
    assert "all" in bound
    assert "in 7 days" in bound


def written(kind: type[Model], *models: Model) -> list[dict[str, str]]:
    file = io.StringIO()
    write_models(kind, models, file)
    return list(csv.DictReader(io.StringIO(file.getvalue())))


def test_csv_has_every_digit_and_no_formula() -> None:
    """A negative amount is a number; text that begins like one is not."""
    (row,) = written(HistoryRecord, attrs.evolve(HISTORY, currency="=1+1"))
    assert row["transact_amt"] == "-10.000000000000000001"
    assert row["acct_balance"] == "1000"
    assert row["currency"] == "'=1+1"
    assert row["transact_time"] == "2026-01-31T12:00:00+00:00"
    (key,) = written(APIKeyInfo, KEY)
    assert (key["permission"], key["valid_days"]) == ("readOnly trade", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        (["history"], "account_id,currency,record_id,transact_amt"),
        (["ledger", "margin"], "account_id,currency,transact_amt"),
        (["platform-valuation"], "distribution_type,balance,success,account_balance"),
        (["key"], "note,status,permission"),
        (["sub-users"], "uid,user_state"),
    ],
)
def test_command_prints_csv_and_json(
    arguments: list[str], header: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--sandbox", "--csv"]) == OK
    captured = capsys.readouterr()
    assert captured.out.startswith(header)
    assert len(captured.out.splitlines()) > 1
    assert captured.err == ""
    assert run([*arguments, "--sandbox", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)
    assert run([*arguments, "--sandbox", "--json", "--csv"]) == USAGE_ERROR


@pytest.mark.slow
def test_history_of_a_range(capsys: pytest.CaptureFixture[str]) -> None:
    """Times without an offset are UTC."""
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    day = (now.replace(hour=0, minute=0, second=0)).isoformat()
    arguments = ["history", "--start", day, "--end", now.isoformat(), "--newest-first", "--sandbox"]
    assert run([*arguments, "--json"]) == OK
    times = [record["transact_time"] for record in json.loads(capsys.readouterr().out)]
    assert times == sorted(times, reverse=True)
    assert times[-1] == f"{day}+00:00"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "yesterday"], "--start must be a time such as 2026-01-31"),
        (["--end", "x"], "--end must be a time"),
        (["--start", "2020-01-01"], "HTX keeps the history"),
        (["--types", "a b,C"], "each of types must be a word in lower case"),
    ],
)
def test_wrong_argument_is_a_usage_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["history", *arguments, "--sandbox"]) == USAGE_ERROR
    assert message in capsys.readouterr().err


def test_progress_bar_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress.window_progress() as on_progress:
        assert on_progress is None
    terminal = Terminal()
    console = session.console()
    console.file = terminal
    monkeypatch.setattr(progress, "console", lambda **_: console)
    monkeypatch.setattr(progress, "is_interactive", lambda _: True)
    with progress.window_progress() as on_progress:
        assert on_progress is not None
        on_progress(1, 24)
