"""The command: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from htx_async import cli
from htx_async.__main__ import main
from htx_async.cli import FAILED, INTERRUPTED, MISUSED, OK, run


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow terminal, no colours, no keys."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


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
        (["balance", "margin", "--sandbox"], "loan -2.433"),
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
    keys_of_the_sandbox: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --sandbox it asks where the environment says."""
    assert keys_of_the_sandbox is None
    assert run(["accounts"]) == OK
    assert "1000001" in capsys.readouterr().out


@pytest.mark.parametrize(("ending", "code"), [(None, OK), (KeyboardInterrupt(), INTERRUPTED)])
def test_a_cyclopts_that_returns(
    ending: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions leave the ending to us."""

    def app(*_: object, **__: object) -> None:
        if ending is not None:
            raise ending

    monkeypatch.setattr(cli, "app", app)
    assert run(["accounts"]) == code


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
        (["points", "--nonsense"], MISUSED, "--nonsense"),
        (["sandbox", "--port", "99999"], MISUSED, "port"),
    ],
)
def test_errors_are_one_helpful_line(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no traceback."""
    assert run(arguments) == code
    said = capsys.readouterr()
    assert text in said.out + said.err
    assert "Traceback" not in said.out + said.err


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

    monkeypatch.setattr(cli, "_show", interrupted)
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
    monkeypatch.delitem(sys.modules, "htx_async.cli")
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
