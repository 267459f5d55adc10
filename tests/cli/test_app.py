"""`htx-async`: output and exit codes."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from cyclopts import App, CycloptsError
from cyclopts.completion.detect import ShellDetectionError
from rich.console import Console

from htx_async import (
    AccessKeyError,
    AccountBalance,
    AccountNotFoundError,
    Accounts,
    APIError,
    ConnectError,
    DeadlineExceededError,
    DecodeError,
    HTXClient,
    InvalidInputError,
    RateLimitedError,
    RateLimitStatus,
    RawResponse,
    ServiceUnavailableError,
    log,
)
from htx_async.__main__ import main
from htx_async.cli import main as cli_main
from htx_async.cli import output, progress, session
from htx_async.cli.exit_codes import FAILED, INTERRUPTED, OK, SIGPIPE, USAGE_ERROR
from htx_async.cli.main import run
from htx_async.error_codes import CAUSES
from htx_async.version import VERSION
from tests.cli.terminal import Terminal

COMMANDS = (
    "accounts",
    "balance",
    "demo",
    "doctor",
    "get",
    "history",
    "key",
    "ledger",
    "limits",
    "platform-valuation",
    "points",
    "sandbox",
    "snapshot",
    "stream",
    "sub-users",
    "valuation",
    "watch",
)


@pytest.mark.slow
def test_demo_prints_accounts_balance_and_points(capsys: pytest.CaptureFixture[str]) -> None:
    """No line is wider than the terminal."""
    assert run(["demo"]) == OK
    output = capsys.readouterr().out
    for expected in ("super-margin", "91.850043797676510303", "97.010043797676510318", "never"):
        assert expected in output
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["accounts", "--sandbox"], "1000001"),
        (["balance", "--sandbox"], "Balance of spot account 1000001 (working)"),
        (["balance", "1000001", "--sandbox"], "97.010043797676510318"),
        (["balance", "margin", "--sandbox"], "transfer-out-available"),
        (["limits", "--sandbox"], "/v1/account/accounts/{account-id}/balance"),
        (["points", "--sandbox"], "148.94159266"),
        (["points", "--sub-uid", "1001", "--sandbox"], "Points of account"),
        (["balance", "SPOT", "--sandbox"], "Balance of spot account 1000001"),
        (["balance", "margin:btcusdt", "--sandbox"], "Balance of margin account 1000002"),
        (["history", "--sandbox"], "since 20"),
        (["history", "SPOT", "--types", "trade", "--currency", "BTC", "--sandbox"], "0.002393"),
        (["ledger", "--sandbox"], "margin-transfer-in"),
        (["platform-valuation", "--sandbox"], "profit of today: 0.00028977 BTC (+0.46%)"),
        (["platform-valuation", "1", "--sandbox"], "total"),
        (["key", "--sandbox"], "in 90 days"),
        (["sub-users", "--sandbox"], "1002  lock"),
        (["valuation", "--sandbox"], "34.75"),
        (["valuation", "SPOT", "--currency", "usd", "--sandbox"], "2259791.5  USD"),
    ],
)
def test_command_prints_table(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == OK
    output = capsys.readouterr().out
    assert expected in output
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.slow
def test_keys_are_read_from_environment(
    sandbox_environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--sandbox`, so is the base URL."""
    assert sandbox_environment is None
    assert run(["accounts"]) == OK
    assert "1000001" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, OK), (KeyboardInterrupt(), INTERRUPTED), (CycloptsError(), USAGE_ERROR)],
)
def test_exit_code_with_cyclopts_that_does_not_exit(
    error: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions return, and do not handle Ctrl-C."""

    def app(*_: object, **__: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(cli_main, "app", app)
    assert run(["accounts"]) == code


def test_exit_code_returned_by_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of cyclopts return the result. Standard output may be any object."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(cli_main, "app", lambda *_, **__: FAILED)
    assert run(["doctor"]) == FAILED


@pytest.mark.slow
def test_balance_hides_zero_currencies_without_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["balance", "point", "--sandbox"]) == OK
    nonzero = capsys.readouterr().out
    assert run(["balance", "grid-trading", "--sandbox", "--all"]) == OK
    complete = capsys.readouterr().out
    assert "currency" in nonzero
    assert "--all" not in complete


@pytest.mark.slow
def test_json_amounts_are_strings(capsys: pytest.CaptureFixture[str]) -> None:
    """They have every digit and no exponent."""
    assert run(["balance", "--sandbox", "--json"]) == OK
    balance = json.loads(capsys.readouterr().out)
    assert balance["id"] == 1000001
    assert balance["entries"][0]["balance"] == "91.850043797676510303"
    assert run(["points", "--sandbox", "--json"]) == OK
    groups = json.loads(capsys.readouterr().out)["group_ids"]
    assert {"0.3", "25.00000001"} <= {group["remain_amt"] for group in groups}
    assert run(["accounts", "--sandbox", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)[1]["type"] == "spot"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["points"], USAGE_ERROR, "set HTX_ACCESS_KEY and HTX_SECRET_KEY"),
        (["balance", "swap", "--sandbox"], FAILED, "no account has the type swap"),
        (["balance", "margin:x", "--sandbox"], FAILED, "the type margin x"),
        (["balance", "1x", "--sandbox"], USAGE_ERROR, "got '1x'. See htx-async balance --help"),
        (["balance", "-5", "--sandbox"], USAGE_ERROR, "an id such as 1000001, or a type such as"),
        (["balance", "42", "--sandbox"], FAILED, "account-inexistent-error"),
        (["balance", "otc", "--sandbox"], FAILED, "base-argument-unsupported"),
        (["points", "--sub-uid", "me", "--sandbox"], USAGE_ERROR, "--sub-uid must be digits"),
        (["nonsense", "x"], USAGE_ERROR, "unknown command: nonsense. Commands: demo, doctor, "),
        (["nonsense"], USAGE_ERROR, "stream. See htx-async --help"),
        (["accounts", "a", "b"], USAGE_ERROR, "unexpected argument: a b. See htx-async accounts"),
        (["sandbox", "--port", "x"], USAGE_ERROR, "--port must be a whole number, got x. See"),
        (["watch", "--every", "x"], USAGE_ERROR, "--every must be a number, got x. See"),
        (["get", "v2/user/uid", "--sandbox"], USAGE_ERROR, "path must start with /"),
        (["get", "/v2/x?Signature=abc", "--sandbox"], USAGE_ERROR, "the signature adds it"),
        (["get", "/v2/none", "--sandbox"], FAILED, "There is no such path"),
        (["get", "/v1/account/accounts", "--unsigned", "--sandbox"], FAILED, "was not signed"),
        (["valuation", "swap", "--sandbox"], FAILED, "accountType"),
        (["valuation", "a b", "--sandbox"], USAGE_ERROR, "ACCOUNT_TYPE must be a word"),
        (["valuation", "--currency", "$", "--sandbox"], USAGE_ERROR, "--currency must be a word"),
        (["points", "--nonsense"], USAGE_ERROR, "--nonsense"),
        (["sandbox", "--port", "99999"], USAGE_ERROR, "--port"),
        (["watch", "--every", "0", "--sandbox"], USAGE_ERROR, "0.1. See htx-async watch --help"),
        (["watch", "42", "--sandbox"], FAILED, "account-inexistent-error"),
        (["watch", "--every", "1"], USAGE_ERROR, "--every needs --poll"),
        (["watch", "--poll", "42", "--sandbox"], FAILED, "account-inexistent-error"),
        (["stream", "record"], USAGE_ERROR, "requires an argument"),
        (["stream", "record", "/", "--sandbox"], USAGE_ERROR, "/ exists: name a file to create"),
        (
            ["stream", "record", "/none/x", "--sandbox"],
            FAILED,
            "/none/x cannot be created: No such",
        ),
        (["balance", "--csv", "--json"], USAGE_ERROR, "--csv and --json are mutually exclusive"),
    ],
)
def test_error_is_one_line_without_traceback(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error
    assert [line[:11] for line in error.splitlines()] == ["htx-async: "]


def test_error_is_wrapped_between_words_on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    session.print_error("words and " * 20)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert {word for line in lines for word in line.split()} == {"htx-async:", "words", "and"}


def test_sandbox_command_exits_with_success_on_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.Event, "wait", lambda _: interrupted())
    assert run(["sandbox", "--port", "0"]) == OK
    assert "HTX_BASE_URL=http://127.0.0.1:" in capsys.readouterr().out


def test_ctrl_c_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "fetch", interrupted)
    assert run(["accounts"]) == INTERRUPTED


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_entry_point_exits_with_exit_code(
    argument: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["htx-async", argument])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == OK
    assert capsys.readouterr().out.strip()


def test_missing_extra_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    for name in [name for name in sys.modules if name.startswith("htx_async.cli")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as caught:
        main()
    assert 'pip install "htx-async[cli]"' in str(caught.value.code)


@pytest.mark.parametrize("arguments", [["watch"], ["stream", "record", "x"]])
def test_missing_stream_extra_names_what_to_install(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is sent or created; a watch can poll instead."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert run([*arguments, "--sandbox"]) == FAILED
    error = capsys.readouterr().err
    assert 'pip install "htx-async[stream]"' in error
    assert ("htx-async watch --poll" in error) == (arguments == ["watch"])


@pytest.mark.slow
def test_sandbox_command_serves_another_process() -> None:
    command = [sys.executable, "-u", "-m", "htx_async"]
    with subprocess.Popen([*command, "sandbox", "--port", "0"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        line = server.stdout.readline().decode()
        settings = dict(word.split("=", 1) for word in line.split())
        client = subprocess.run(
            [*command, "balance"],
            env=os.environ | settings,
            capture_output=True,
            check=True,
        )
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=10) == OK
    assert "97.010043797676510318" in client.stdout.decode()


@pytest.mark.slow
def test_balance_csv_has_column_for_each_row_type(capsys: pytest.CaptureFixture[str]) -> None:
    """Amounts have every digit and no exponent."""
    assert run(["balance", "super-margin", "--csv", "--sandbox"]) == OK
    head, eth, usdt = capsys.readouterr().out.splitlines()
    further = "loan,interest,transfer-out-available,loan-available"
    assert head == f"currency,trade,frozen,total,{further}"
    assert eth == "eth,0.015,0.005,0.02,-2.433,-0.00053375,-1,10"
    assert usdt == "usdt,1203.4,0,1203.4,,,,"


@pytest.mark.slow
def test_snapshot_prints_accounts_total_and_otc(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is no progress bar."""
    assert run(["snapshot", "--sandbox"]) == OK
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "Balance of margin btcusdt account 1000002 (working)" in captured.out
    combined = captured.out.partition("Total of 5 accounts")[2]
    assert "2803.560043797676510318" in combined
    assert "loan " not in combined.partition("\n\n")[0]
    assert "Not reported by HTX: 1000005 (otc)" in captured.out
    assert max(map(len, captured.out.splitlines())) <= 80


@pytest.mark.slow
def test_snapshot_csv(capsys: pytest.CaptureFixture[str]) -> None:
    """The OTC account is not an error."""
    assert run(["snapshot", "--csv", "--sandbox"]) == OK
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "1000001,spot,,usdt,frozen,5.160000000000000015" in captured.out.splitlines()


@pytest.mark.slow
def test_snapshot_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The OTC account is not an error; amounts are strings."""
    assert run(["snapshot", "--json", "--sandbox"]) == OK
    captured = capsys.readouterr()
    assert captured.err == ""
    snapshot = json.loads(captured.out)
    accounts, (otc,) = snapshot["accounts"], snapshot["skipped"]
    assert accounts[1]["balance"]["entries"][0]["balance"] == "91.850043797676510303"
    assert otc["type"] == "otc"


@pytest.mark.slow
def test_snapshot_with_failed_balance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are printed; the failure is in the exit code, and on stderr or in the table."""
    original = Accounts._balance

    async def failing(self: Accounts, account_id: int, started_at: float) -> AccountBalance:
        if account_id == 1000003:
            text = "injected failure"
            raise APIError(text)
        return await original(self, account_id, started_at)

    monkeypatch.setattr(Accounts, "_balance", failing)
    assert run(["snapshot", "--csv", "--all", "--sandbox"]) == FAILED
    captured = capsys.readouterr()
    assert captured.err == "htx-async: account 1000003: injected failure\n"
    assert "1000004,grid-trading" in captured.out
    assert run(["snapshot", "--sandbox"]) == FAILED
    captured = capsys.readouterr()
    assert "Failed: 1000003 (super-margin): injected failure" in captured.out
    assert captured.err == ""


@pytest.mark.slow
def test_snapshot_progress_bar_on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts balances."""
    terminal = Console(file=Terminal(), force_terminal=True, width=80)
    monkeypatch.setattr(progress, "console", lambda **_: terminal)
    assert run(["snapshot", "--csv", "--sandbox"]) == OK
    assert isinstance(terminal.file, Terminal)
    assert "5/5" in terminal.file.getvalue()


@pytest.mark.slow
def test_limits_json_has_fields_of_rate_limit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["limits", "--json", "--sandbox"]) == OK
    limits = json.loads(capsys.readouterr().out)
    accounts = limits["GET /v1/account/accounts"]
    assert accounts.keys() == {field.name for field in attrs.fields(RateLimitStatus)}
    assert accounts["remaining"] == 99
    assert datetime.fromisoformat(accounts["resets_at"]).utcoffset() == timedelta(0)
    assert limits["GET /v2/point/account"]["limit"] == {"requests": 2, "per": 1.0}


@pytest.mark.slow
def test_debug_logs_requests_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """The log is on standard error; standard output has the JSON alone."""
    assert run(["points", "--sandbox", "--json", "--debug"]) == OK
    captured = capsys.readouterr()
    assert json.loads(captured.out)["account_id"] == 14403739
    assert "GET /v2/point/account" in captured.err
    assert "DEBUG htx_async: GET /v2/point/account: attempt 1: HTTP 200" in captured.err
    for secret in ("access-key", "secret-key", "Signature"):
        assert secret not in captured.err
    assert run(["points", "--sandbox", "--json"]) == OK
    assert capsys.readouterr().err == ""


def test_warnings_are_only_printed_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error is one line: no retry or 429 is printed beside it."""
    monkeypatch.setattr(logging.root, "handlers", [])  # as in the command, without pytest's
    with session.debug_log(enabled=False):
        log.LOGGER.warning("a warning")
    with session.debug_log(enabled=True):
        log.LOGGER.warning("a shown warning")
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.endswith("WARNING htx_async: a shown warning\n")


@pytest.mark.slow
def test_snapshot_progress_bar_with_debug_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are counted, and logged above the bar."""
    terminal = Console(file=Terminal(), force_terminal=True, width=80)
    monkeypatch.setattr(progress, "console", lambda **_: terminal)
    assert run(["snapshot", "--csv", "--sandbox", "--debug"]) == OK
    assert isinstance(terminal.file, Terminal)
    text = terminal.file.getvalue()
    assert "5/5" in text
    assert "/balance: attempt 1: HTTP 200" in text


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["snapshot", "--csv"], ["accounts"]])
def test_closed_pipe_exit_code(arguments: list[str]) -> None:
    """`| head`: there is no traceback, for CSV and tables."""
    command = [sys.executable, "-m", "htx_async", *arguments, "--sandbox"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(timeout=10) == SIGPIPE


def test_console_raises_broken_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer versions of rich would exit instead."""

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        session.console().print("a table")


def test_closed_pipe_redirects_stdout(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Otherwise Python would print an error when it flushes standard output at exit."""

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    redirected: list[int] = []
    monkeypatch.setattr(cli_main, "app", broken)
    monkeypatch.setattr(os, "dup2", lambda _, to: redirected.append(to))
    assert run(["accounts"]) == SIGPIPE
    assert redirected == [sys.stdout.fileno()]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
@pytest.mark.parametrize("columns", ["80", "160"])
def test_help_fits_terminal_and_has_examples(
    command: list[str],
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Examples are not wrapped, whatever the width."""
    monkeypatch.setenv("COLUMNS", columns)
    assert run([*command, "--help"]) == OK
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= int(columns)
    assert command == ["demo"] or re.search(r"(?m)^ +htx-async ", text)
    assert "\x1b" not in text


def test_colours_follow_terminal_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    assert session.console().color_system is None  # not a terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert session.console().color_system is not None
    assert not session.is_interactive(session.console())
    monkeypatch.setenv("NO_COLOR", "1")
    assert session.console().no_color


@pytest.mark.slow
def test_get_prints_data_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query is part of the path. A number with a point is a string, with every digit."""
    assert run(["get", "/v1/account/accounts", "--sandbox"]) == OK
    assert json.loads(capsys.readouterr().out)[1]["id"] == 1000001
    path = "/v2/account/asset-valuation?accountType=spot&valuationCurrency=USD"
    assert run(["get", path, "--sandbox"]) == OK
    assert json.loads(capsys.readouterr().out)["balance"] == "2259791.50"
    exact = RawResponse({"a": Decimal("1E-18")}, 200, {}, 1, 0.0, 0.0)

    async def get(*_: object, **__: object) -> RawResponse:
        return exact

    monkeypatch.setattr(HTXClient, "get", get)
    assert run(["get", "/v2/any", "--sandbox"]) == OK
    assert json.loads(capsys.readouterr().out) == {"a": "0.000000000000000001"}


@pytest.mark.slow
def test_unsigned_get_needs_no_keys(
    served_sandbox: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The base URL is that of the environment."""
    monkeypatch.setenv("HTX_BASE_URL", served_sandbox)
    assert run(["get", "/v1/common/timestamp", "--unsigned"]) == OK
    assert int(capsys.readouterr().out) > 0
    monkeypatch.setenv("HTX_BASE_URL", "http://example.com")
    assert run(["get", "/v1/common/timestamp", "--unsigned"]) == USAGE_ERROR
    assert capsys.readouterr().err.startswith("htx-async: HTX_BASE_URL must be https")


@pytest.mark.slow
def test_valuation_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["valuation", "margin", "--json", "--sandbox"]) == OK
    assert json.loads(capsys.readouterr().out)["balance"] == "0.015000000000000001"


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ConnectError("refused."), "refused. Run htx-async doctor"),
        (DeadlineExceededError("late"), "late. Run htx-async doctor"),
        (AccessKeyError("unknown key"), "unknown key. Run htx-async doctor"),
        (ServiceUnavailableError("a page"), "a page. Run htx-async doctor"),
        (RateLimitedError("429"), "429. See htx-async limits"),
        (AccountNotFoundError("none"), "none. See htx-async accounts"),
        (InvalidInputError("x must be y"), "y. See htx-async balance --help"),
        (InvalidInputError("set HTX_ACCESS_KEY"), "HTX_ACCESS_KEY. Run htx-async doctor"),
        (DecodeError("no JSON"), "htx-async: no JSON"),
        (DecodeError("the body is too large (max_body)"), "htx-async: the body is too large"),
        (OSError("a\x1b[31m\nb"), "htx-async: a?[31m b"),
        (OSError(errno.ENOSPC, "No space left"), "htx-async: No space left"),
        (ImportError("x needs y"), "htx-async: x needs y"),
    ],
)
def test_error_names_the_next_command(
    error: Exception,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli_main, "app", failing)
    assert run(["balance"]) in (FAILED, USAGE_ERROR)
    assert capsys.readouterr().err.endswith(f"{end}\n")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "ALL_PROXY",
            "socks5://proxy:1",
            "SOCKS proxies are not supported. Use an HTTP proxy. Run",
        ),
        ("HTX_SECRET_KEY", "-----BEGIN PRIVATE KEY", "Set a private key as HTX_PRIVATE_KEY. Run"),
    ],
)
def test_error_names_no_python(
    name: str, value: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("HTX_ACCESS_KEY", "a")
    monkeypatch.setenv("HTX_SECRET_KEY", "b")
    monkeypatch.setenv(name, value)
    assert run(["accounts"]) == USAGE_ERROR
    error = capsys.readouterr().err
    assert text in error
    assert "(" not in error


def test_error_hints_name_no_python() -> None:
    for cause in CAUSES:
        assert not re.search(r"\w\(|\w=|\w_\w", cause.hint_for(signed=True))
        assert not re.search(r"\w\(|\w=|\w_\w", cause.hint_for(signed=False))


@pytest.mark.slow
def test_sandbox_port_in_use_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run(["sandbox", "--port", str(port)]) == FAILED
    assert capsys.readouterr().err == (
        f"htx-async: port {port} cannot be used: Address already in use. "
        "Choose another one with --port; 0 selects a free one.\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
@pytest.mark.parametrize("command", ["doctor", "snapshot", "points", "limits --json"])
def test_output_in_any_encoding(encoding: str, command: str, served_sandbox: str) -> None:
    """Boxes and characters that it does not have are replaced."""
    environment = os.environ | {
        "PYTHONIOENCODING": encoding,
        "HTX_ACCESS_KEY": "access-key",
        "HTX_SECRET_KEY": "secret-key",
        "HTX_BASE_URL": served_sandbox,
    }
    done = subprocess.run(
        [sys.executable, "-m", "htx_async", *command.split()],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (OK, b"")
    text = done.stdout.decode(encoding)
    assert "?" not in text
    assert command != "doctor" or "HMAC-SHA256 key ... for http://" in text.replace("…", "...")


def test_output_escapes_as_json_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--json` prints stays JSON, also with lone surrogates."""
    texts = ["币 …", "\U0001f600", "\ud800"]
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(cli_main, "app", lambda *_, **__: output.print_json(texts))
    assert run(["accounts"]) == OK
    assert isinstance(stdout.buffer, io.BytesIO)
    assert json.loads(stdout.buffer.getvalue()) == ["币 ...", *texts[1:]]
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", cli_main._ESCAPE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["demo", "accounts", "balance margin", "points", "snapshot", "limits", "valuation", "doctor"],
)
def test_output_at_40_columns(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line is longer, and no figure is broken in two."""

    def figures(columns: str) -> set[str]:
        monkeypatch.setenv("COLUMNS", columns)
        arguments = [] if command == "demo" else ["--sandbox"]
        assert run([*command.split(), *arguments]) == OK
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= int(columns)
        return set(re.findall(r"\d[\d.]{5,}", text))

    wide = figures("160")
    assert command in ("limits", "doctor", "valuation") or wide
    assert {figure for figure in wide if len(figure) > 8} <= figures("40")


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_install_completion(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ZSH", "ZSH_CUSTOM"):
        monkeypatch.delenv(name, raising=False)
    assert run(["--install-completion", "--shell", shell]) == OK
    path = re.search(r"installed in (\S+)\. Start", capsys.readouterr().out)
    assert path is not None
    assert path[1].startswith(str(tmp_path))
    script = Path(path[1]).read_text(encoding="utf-8")
    assert all(command in script for command in COMMANDS)


def test_install_completion_of_unknown_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(**_: object) -> None:
        raise ShellDetectionError

    monkeypatch.setattr(App, "install_completion", staticmethod(unknown))
    assert run(["--install-completion"]) == USAGE_ERROR
    assert "name it with --shell. See htx-async" in capsys.readouterr().err


@pytest.mark.slow
def test_version_imports_no_command() -> None:
    """So it is as fast as `import htx_async`."""
    code = "import sys; from htx_async.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{VERSION}\n"
    assert not re.search(r"htx_async\.cli\b|cyclopts|rich|uvicorn", done.stderr)
