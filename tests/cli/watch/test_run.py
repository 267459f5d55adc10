"""`htx-async watch` on a terminal and in a pipe."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console

from htx_async import Credentials, Event, HTXClient
from htx_async.cli import session
from htx_async.cli.exit_codes import INTERRUPTED
from htx_async.cli.watch import run
from htx_async.sandbox import Sandbox, faults
from tests.cli.terminal import Terminal

CHANGED = faults.field("data.list[0].balance", "100")


async def watch_until_changed_back(*, lines: bool, as_json: bool = False) -> None:
    """Poll an account whose balance changes once and changes back; stop after six requests."""
    sandbox = Sandbox()
    sandbox.faults.at(2, faults.reset(), endpoint="GET /v1/account/accounts/{account-id}/balance")
    sandbox.faults.at(3, CHANGED, endpoint="GET /v1/account/accounts/{account-id}/balance")
    keys = Credentials("access-key", "secret-key")
    watching = asyncio.timeout(10)
    sent = 0

    def stop_after_six_requests(event: Event) -> None:
        nonlocal sent
        sent += event.kind == "sent" and "balance" in event.endpoint
        if sent == 6:
            watching.reschedule(0.0)

    async with (
        sandbox.serve() as base_url,
        HTXClient(keys, base_url=base_url, on_event=stop_after_six_requests) as htx,
        watching,
    ):
        await run.poll(htx, "1000001", 0.1, lines=lines, as_json=as_json)


async def watch_until_moved_twice(*, lines: bool = False, as_json: bool = False) -> None:
    """Watch a stream whose account moves, which is cut, and moves again."""
    sandbox = Sandbox()
    keys = Credentials("access-key", "secret-key")

    async def move() -> None:
        while not any(each.path == "/ws/v2" for each in sandbox.arrivals):  # noqa: ASYNC110 - a list
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        sandbox.move("spot", "usdt", trade="100", cause="deposit")
        await asyncio.sleep(0.1)
        sandbox.interrupt_streams(faults.reset())
        sandbox.move("spot", "usdt", trade="90", cause="withdraw")
        await asyncio.sleep(1.0)
        watching.cancel()

    async with sandbox.serve() as base_url, HTXClient(keys, base_url=base_url) as htx:
        watching = asyncio.create_task(
            run.run(htx, "1000001", lines=lines, as_json=as_json), name="watch"
        )
        await asyncio.gather(watching, move(), return_exceptions=True)
    assert watching.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.slow
@pytest.mark.parametrize("forced", [True, False])
async def test_watch_prints_lines_into_pipe(
    *, forced: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changes go to standard output, gaps to standard error."""
    await watch_until_moved_twice(lines=forced)
    captured = capsys.readouterr()
    deposit, resync = captured.out.splitlines()
    assert deposit.endswith("trade 91.850043797676510303 -> 100 (+8.149956202323489697) deposit")
    assert resync.endswith(" usdt trade 100 -> 90 (-10) resync")
    watching, gap, resynced = captured.err.splitlines()
    assert watching == "htx-async: watching spot account 1000001, synced"
    assert gap.endswith("to now: disconnected")
    assert resynced.startswith("htx-async: resynced, gap from ")


@pytest.mark.slow
async def test_watch_json_prints_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """One on each line, for changes and for events; nothing on standard error."""
    await watch_until_moved_twice(as_json=True)
    captured = capsys.readouterr()
    objects = [json.loads(line) for line in captured.out.splitlines()]
    assert [each["kind"] for each in objects] == [
        "synced", "changed", "gap", "changed", "resynced", "synced"
    ]  # fmt: skip
    assert [each["after"] for each in objects if "after" in each] == ["100", "90"]
    assert objects[2]["status"] == "disconnected"
    assert captured.err == ""


@pytest.mark.slow
async def test_watch_shows_the_stream_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its status and age; afterwards the changes are printed to the main screen."""
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=80, height=24, no_color=True)
    monkeypatch.setattr(session, "console", lambda: console)
    await watch_until_moved_twice()
    inside, _, after = file.getvalue().rpartition("\x1b[?1049l")
    assert "synced, equal to REST 0 s ago (bound 25 s)" in inside
    assert "+8.149956202323489697" in after
    assert "2 changes, 1 gap." in after


@pytest.mark.slow
@pytest.mark.parametrize("forced", [True, False])
async def test_poll_prints_lines_into_pipe(
    *, forced: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changes go to standard output, notices to standard error."""
    with pytest.raises(TimeoutError):
        await watch_until_changed_back(lines=forced)
    captured = capsys.readouterr()
    there, back = captured.out.splitlines()
    assert there.endswith("usdt trade 91.850043797676510303 -> 100 (+8.149956202323489697)")
    assert back.endswith("usdt trade 100 -> 91.850043797676510303 (-8.149956202323489697)")
    assert captured.err.startswith("htx-async: watching spot account 1000001\n")


@pytest.mark.slow
async def test_poll_json_prints_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """One on each line; notices go to standard error."""
    with pytest.raises(TimeoutError):
        await watch_until_changed_back(lines=False, as_json=True)
    captured = capsys.readouterr()
    there, back = map(json.loads, captured.out.splitlines())
    assert (there["type"], there["after"], back["after"]) == ("trade", "100", there["before"])
    assert captured.err.startswith("htx-async: watching spot account 1000001\n")


@pytest.mark.slow
async def test_poll_uses_alternate_screen_of_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards the changes are printed to the main screen."""
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=80, height=24, no_color=True)
    monkeypatch.setattr(session, "console", lambda: console)
    with pytest.raises(TimeoutError):
        await watch_until_changed_back(lines=False)
    before, entered, rest = file.getvalue().partition("\x1b[?1049h")
    inside, left, after = rest.rpartition("\x1b[?1049l")
    assert (before, bool(entered), bool(left)) == ("", True, True)
    assert "Stop: Ctrl-C" in inside
    assert "\x1b[?25h" in inside + left + after  # the cursor is back
    assert "+8.149956202323489697" in after
    assert "2 changes." in after


def read_until(master: int, expected: str) -> str:
    """Return the output to a terminal up to *expected*."""
    output, until = "", time.monotonic() + 15
    while expected not in output and time.monotonic() < until:
        if select.select([master], [], [], 0.1)[0]:
            output += os.read(master, 65536).decode(errors="replace")
    assert expected in output, output
    return output


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--poll", "--every", "0.1"]])
def test_watch_survives_resize_and_stops_on_ctrl_c(
    arguments: list[str], served_sandbox: str
) -> None:
    """On a pseudo-terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = os.environ | {
        "HTX_ACCESS_KEY": "access-key",
        "HTX_SECRET_KEY": "secret-key",
        "HTX_BASE_URL": served_sandbox,
        "TERM": "xterm",
    }
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "htx_async", "watch", *arguments]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as process:
        os.close(slave)
        try:
            read_until(master, " changes")
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 40, 0, 0))
            os.kill(process.pid, signal.SIGWINCH)
            read_until(master, "Ctrl-C")
            process.send_signal(signal.SIGINT)
            end = read_until(master, "\x1b[?1049l")
            assert process.wait(timeout=10) == INTERRUPTED
        finally:
            process.kill()
            os.close(master)
    assert "Traceback" not in end
