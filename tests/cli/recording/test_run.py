"""`htx-async stream record` against a served sandbox."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from htx_async import (
    AccessKeyError,
    Credentials,
    DeadlineExceededError,
    HTXClient,
    HTXError,
    ServiceUnavailableError,
)
from htx_async.cli.exit_codes import OK
from htx_async.cli.main import run
from htx_async.cli.recording.run import Recorder
from htx_async.resources.accounts import BALANCE
from htx_async.sandbox import Fault, Sandbox, default_users, faults

KEYS = Credentials("access-key", "secret-key")


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_record_writes_a_file_without_secrets_and_amounts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No key, signature, UID, account id or amount of the sandbox is in it."""
    file = tmp_path / "stream.jsonl"
    assert run(["stream", "record", str(file), "--sandbox", "--seconds", "2.5"]) == OK
    text = file.read_text(encoding="ascii")
    recorded = objects(text)
    assert {each["kind"] for each in recorded} >= {
        "start", "accounts", "opened", "sent", "received", "audited", "event"
    }  # fmt: skip
    causes = {each["message"]["data"].get("changeType") for each in recorded if "frozen" in each}
    assert {None, "order.place"} <= causes
    assert [each["at"] for each in recorded] == sorted(each["at"] for each in recorded)
    forbidden = {"access-key", "secret-key", "Signature", "signature"}
    for user in default_users():
        forbidden.add(str(user.uid))
        for account in user.accounts:
            forbidden.add(str(account.id))
            forbidden |= {row.balance for row in account.rows if len(row.balance) > 3}
    assert len(forbidden) > 20
    assert {value for value in forbidden if value in text} == set()
    assert "recorded " in capsys.readouterr().err
    assert run(["stream", "record", str(file), "--sandbox"]) != OK
    assert file.read_text(encoding="ascii") == text


@pytest.mark.slow
def test_record_stops_on_ctrl_c(tmp_path: Path) -> None:
    """With success: the file is complete."""
    file = tmp_path / "stream.jsonl"
    command = [sys.executable, "-m", "htx_async", "stream", "record", str(file), "--sandbox"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        while not file.read_text(encoding="ascii").count("audited"):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == OK
        assert "Traceback" not in process.stderr.read()
    assert objects(file.read_text(encoding="ascii"))


@pytest.mark.slow
async def test_record_continues_after_a_cut() -> None:
    sandbox, file = Sandbox(), io.StringIO()
    recorder = Recorder(file)
    async with sandbox.serve() as base_url, HTXClient(KEYS, base_url=base_url) as htx:
        recording = asyncio.create_task(recorder.run(htx, "spot", 2.0))
        while "accounts" not in file.getvalue():  # noqa: ASYNC110 - a file does not notify
            await asyncio.sleep(0.01)
        sandbox.interrupt_streams(faults.reset())
        await recording
    kinds = [each["kind"] for each in objects(file.getvalue())]
    assert (kinds.count("opened"), kinds.count("lost")) == (2, 1)
    assert "2 connections" in recorder.summary()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "endpoint", "error"),
    [
        (faults.maintenance(), BALANCE.name, ServiceUnavailableError),
        (faults.lost(), "WS auth", DeadlineExceededError),
    ],
)
async def test_record_raises_if_the_stream_is_not_synced_in_time(
    fault: Fault, endpoint: str, error: type[HTXError]
) -> None:
    """What happened until then is recorded: it is what a report needs."""
    sandbox, file = Sandbox(), io.StringIO()
    sandbox.faults.always(fault, endpoint=endpoint)
    async with (
        sandbox.serve() as base_url,
        HTXClient(KEYS, base_url=base_url, timeout=1.0) as htx,
    ):
        with pytest.raises(error):
            await Recorder(file).run(htx, "spot", 20.0)
    kinds = [each["kind"] for each in objects(file.getvalue())]
    assert kinds[0] == "start"
    assert {"opened", "sent"} <= set(kinds)


@pytest.mark.slow
async def test_record_writes_what_happened_before_a_refusal() -> None:
    """While it connects, and later."""
    file = io.StringIO()
    async with Sandbox(users=()).serve() as base_url, HTXClient(KEYS, base_url=base_url) as htx:
        with pytest.raises(AccessKeyError):
            await Recorder(file).run(htx, None, None)
    assert [each["kind"] for each in objects(file.getvalue())] == ["start"]
    sandbox, file = Sandbox(), io.StringIO()
    async with sandbox.serve() as base_url, HTXClient(KEYS, base_url=base_url) as htx:
        recording = asyncio.create_task(Recorder(file).run(htx, "spot", 20.0))
        while "accounts" not in file.getvalue():  # noqa: ASYNC110 - a file does not notify
            await asyncio.sleep(0.01)
        wrong_key = faults.refusal("api-signature-not-valid", "Incorrect Access key")
        sandbox.faults.always(wrong_key, endpoint="GET /v1/account/accounts")
        sandbox.faults.always(faults.refusal(2002, "auth.fail"), endpoint="WS auth")
        sandbox.interrupt_streams(faults.reset())
        with pytest.raises(AccessKeyError):
            await recording
    assert objects(file.getvalue())[-1]["event"] == "refused"
