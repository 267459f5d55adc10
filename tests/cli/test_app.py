"""The command: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

import pytest
from cyclopts import CycloptsError
from rich.console import Console

from htx_async import APIError, HTXClient
from htx_async.__main__ import main
from htx_async.cli import main as command
from htx_async.cli import output, progress, session
from htx_async.cli.exit_codes import FAILED, INTERRUPTED, MISUSED, OK, UNREAD
from htx_async.cli.main import run
from tests.cli.terminal import Terminal

COMMANDS = (
    "accounts",
    "balance",
    "demo",
    "doctor",
    "limits",
    "points",
    "sandbox",
    "snapshot",
    "watch",
)


@pytest.mark.slow
def test_demo_shows_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    """Accounts, a balance and points; no line is wider than the terminal."""
    assert run(["demo"]) == OK
    said = capsys.readouterr().out
    for expected in ("super-margin", "91.850043797676510303", "97.010043797676510318", "never"):
        assert expected in said
    assert max(map(len, said.splitlines())) <= 80


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
    ],
)
def test_tables(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person asked for."""
    assert run(arguments) == OK
    said = capsys.readouterr().out
    assert expected in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.slow
def test_keys_from_the_environment(
    sandbox_environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --sandbox it asks where the environment says."""
    assert sandbox_environment is None
    assert run(["accounts"]) == OK
    assert "1000001" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ending", "code"),
    [(None, OK), (KeyboardInterrupt(), INTERRUPTED), (CycloptsError(), MISUSED)],
)
def test_a_cyclopts_that_returns(
    ending: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions leave the ending to us."""

    def called(*_: object, **__: object) -> None:
        if ending is not None:
            raise ending

    monkeypatch.setattr(command, "app", called)
    assert run(["accounts"]) == code


def test_a_code_that_a_command_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor's, say: older versions of cyclopts hand it on."""
    monkeypatch.setattr(command, "app", lambda *_, **__: FAILED)
    assert run(["doctor"]) == FAILED


@pytest.mark.slow
def test_currencies_without_any_amount(capsys: pytest.CaptureFixture[str]) -> None:
    """They are left out, and said to be; `--all` shows them."""
    assert run(["balance", "point", "--sandbox"]) == OK
    few = capsys.readouterr().out
    assert run(["balance", "grid-trading", "--sandbox", "--all"]) == OK
    every = capsys.readouterr().out
    assert "currency" in few
    assert "--all" not in every


@pytest.mark.slow
def test_json_has_amounts_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Digit for digit, without exponent."""
    assert run(["balance", "--sandbox", "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    assert said["id"] == 1000001
    assert said["entries"][0]["balance"] == "91.850043797676510303"
    assert run(["points", "--sandbox", "--json"]) == OK
    groups = json.loads(capsys.readouterr().out)["group_ids"]
    assert {"0.3", "25.00000001"} <= {group["remain_amt"] for group in groups}
    assert run(["accounts", "--sandbox", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)[1]["type"] == "spot"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["points"], MISUSED, "set HTX_ACCESS_KEY and HTX_SECRET_KEY"),
        (["balance", "1x", "--sandbox"], FAILED, "no account is of type 1x; there is 14403739"),
        (["balance", "42", "--sandbox"], FAILED, "which is not the UID"),
        (["balance", "otc", "--sandbox"], FAILED, "HTX refused"),
        (["points", "--sub-uid", "me", "--sandbox"], MISUSED, "sub_uid must be digits"),
        (["nonsense"], MISUSED, "See htx-async --help"),
        (["points", "--nonsense"], MISUSED, "--nonsense"),
        (["sandbox", "--port", "99999"], MISUSED, "--port"),
        (["watch", "--every", "0", "--sandbox"], MISUSED, "0.1. See htx-async watch --help"),
        (["watch", "42", "--sandbox"], FAILED, "which is not the UID"),
        (["balance", "--csv", "--json"], MISUSED, "which of them is meant?"),
    ],
)
def test_errors_are_one_helpful_line(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no traceback."""
    assert run(arguments) == code
    said = capsys.readouterr()
    assert text in said.err
    assert "Traceback" not in said.err
    assert [line[:11] for line in said.err.splitlines()] == ["htx-async: "]


def test_errors_are_folded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between words, which a terminal itself does not."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    session.complain("words and " * 20)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert {word for line in lines for word in line.split()} == {"htx-async:", "words", "and"}


def test_the_sandbox_command_ends_with_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is how it is meant to end."""

    async def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.Event, "wait", lambda _: interrupted())
    assert run(["sandbox", "--port", "0"]) == OK
    assert "HTX_BASE_URL=http://127.0.0.1:" in capsys.readouterr().out


def test_ctrl_c_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that is interrupted ends with the code that shells know."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "read", interrupted)
    assert run(["accounts"]) == INTERRUPTED


def test_main_exits_with_the_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the entry point of the script."""
    monkeypatch.setattr(sys, "argv", ["htx-async", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == OK
    assert capsys.readouterr().out.strip()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    for name in [name for name in sys.modules if name.startswith("htx_async.cli")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as caught:
        main()
    assert 'pip install "htx-async[cli]"' in str(caught.value.code)


@pytest.mark.slow
def test_as_a_module_served_and_asked() -> None:
    """`python -m htx_async sandbox` serves what another process reads."""
    command = [sys.executable, "-u", "-m", "htx_async"]
    with subprocess.Popen([*command, "sandbox", "--port", "0"], stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        line = served.stdout.readline().decode()
        settings = dict(word.split("=", 1) for word in line.split())
        asked = subprocess.run(
            [*command, "balance"],
            env=os.environ | settings,
            capture_output=True,
            check=True,
        )
        served.send_signal(signal.SIGINT)
        assert served.wait(timeout=10) == OK
    assert "97.010043797676510318" in asked.stdout.decode()


@pytest.mark.slow
def test_csv_of_a_balance(capsys: pytest.CaptureFixture[str]) -> None:
    """Every digit, no exponent; loans have a column of their own."""
    assert run(["balance", "super-margin", "--csv", "--sandbox"]) == OK
    head, eth, usdt = capsys.readouterr().out.splitlines()
    others = "loan,interest,transfer-out-available,loan-available"
    assert head == f"currency,trade,frozen,total,{others}"
    assert eth == "eth,0.015,0.005,0.02,-2.433,-0.00053375,-1,10"
    assert usdt == "usdt,1203.4,0,1203.4,0,0,0,0"


@pytest.mark.slow
def test_a_snapshot(capsys: pytest.CaptureFixture[str]) -> None:
    """Each account, all together, and what HTX does not tell. No bar where nobody looks."""
    assert run(["snapshot", "--sandbox"]) == OK
    said = capsys.readouterr()
    assert said.err == ""
    assert "Balance of margin btcusdt account 1000002 (working)" in said.out
    together = said.out.partition("All 5 accounts together")[2]
    assert "2803.560043797676510318" in together
    assert "loan " not in together.partition("\n\n")[0]
    assert "HTX does not tell what is in 1000005 (otc)." in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize(("form", "expected"), [("--csv", 17), ("--json", None)])
def test_a_snapshot_for_programs(
    form: str, expected: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Amounts as text; what could not be read is told aside."""
    assert run(["snapshot", form, "--sandbox"]) == OK
    said = capsys.readouterr()
    assert said.err == ""
    if expected is None:
        *read, otc = json.loads(said.out)["pictures"]
        assert read[1]["balance"]["entries"][0]["balance"] == "91.850043797676510303"
        assert otc["error"]["error"] == "APIError"
    else:
        assert "1000001,spot,,usdt,frozen,5.160000000000000015" in said.out.splitlines()


@pytest.mark.slow
def test_a_snapshot_that_lacks_something(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are shown; the exit code tells, and so does standard error or the table."""
    real = HTXClient._request

    async def failing(self: HTXClient, endpoint: Any, **how: Any) -> Any:
        if "1000003" in str(how.get("path")):
            text = "no such luck"
            raise APIError(text)
        return await real(self, endpoint, **how)

    monkeypatch.setattr(HTXClient, "_ask", failing)
    assert run(["snapshot", "--csv", "--all", "--sandbox"]) == FAILED
    said = capsys.readouterr()
    assert said.err == "htx-async: account 1000003: no such luck\n"
    assert "1000004,grid-trading" in said.out
    assert run(["snapshot", "--sandbox"]) == FAILED
    said = capsys.readouterr()
    assert "Not read: 1000003 (super-margin): no such luck" in said.out
    assert said.err == ""


@pytest.mark.slow
def test_the_bar_of_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it counts balances, and goes away at the end."""
    terminal = Console(file=Terminal(), force_terminal=True, width=80)
    monkeypatch.setattr(progress, "console", lambda **_: terminal)
    assert run(["snapshot", "--csv", "--sandbox"]) == OK
    assert isinstance(terminal.file, Terminal)
    assert "6/6" in terminal.file.getvalue()


@pytest.mark.slow
def test_limits_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """What HTX said is in it."""
    assert run(["limits", "--json", "--sandbox"]) == OK
    said = json.loads(capsys.readouterr().out)
    assert said["GET /v2/point/account"]["limit"] == {"limit": 2, "per": 1.0}
    assert said["GET /v1/account/accounts"]["remain"] == 99


@pytest.mark.slow
def test_debugging_tells_what_happens_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error; the answer is still all that is on the other one."""
    assert run(["points", "--sandbox", "--json", "--debug"]) == OK
    said = capsys.readouterr()
    assert json.loads(said.out)["account_id"] == 14403739
    assert "GET /v2/point/account" in said.err
    assert "http_status=200" in said.err
    for secret in ("access-key", "secret-key", "Signature"):
        assert secret not in said.err
    assert run(["points", "--sandbox", "--json"]) == OK
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["snapshot", "--csv"], ["accounts"]])
def test_nobody_reads_on(arguments: list[str]) -> None:
    """`| head` has enough: no traceback, and the code that shells know. Of tables, too."""
    command = [sys.executable, "-m", "htx_async", *arguments, "--sandbox"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(timeout=10) == UNREAD


def test_a_table_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for `run` to end the command, not for rich."""

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        session.console().print("a table")


def test_what_is_unsaid_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """So that Python has nothing to complain of at its end."""

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    redirected: list[int] = []
    monkeypatch.setattr(command, "app", broken)
    monkeypatch.setattr(os, "dup2", lambda _, to: redirected.append(to))
    assert run(["accounts"]) == UNREAD
    assert redirected == [sys.stdout.fileno()]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
@pytest.mark.parametrize("columns", ["80", "160"])
def test_the_help_fits_and_has_examples(
    command: list[str],
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Examples are kept as they were written, in any terminal."""
    monkeypatch.setenv("COLUMNS", columns)
    assert run([*command, "--help"]) == OK
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= int(columns)
    assert command == ["demo"] or re.search(r"(?m)^ +htx-async ", said)
    assert "\x1b" not in said


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """And for those who did not say no."""
    monkeypatch.delenv("NO_COLOR")
    assert session.console().color_system is None  # nobody looks
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert session.console().color_system is not None
    assert not session.is_screen(session.console())
    monkeypatch.setenv("NO_COLOR", "1")
    assert session.console().no_color
