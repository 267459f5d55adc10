"""The logger `htx_async`: what it reports, `HTX_LOG`, and the samples of the docs."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import random
import re
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from htx_async import (
    NO_RETRY,
    Credentials,
    HTXClient,
    HTXError,
    RetryPolicy,
    ServiceUnavailableError,
    log,
)
from htx_async.sandbox import Sandbox
from htx_async.testing import ScriptedTransport, Step
from tests.virtual import VirtualClock, run

PAGE = Path(__file__).parents[1] / "docs" / "operations" / "logging.md"
SAMPLE_WIDTH = 88
"""Characters in a line of code on a page, in a window of 1,280 pixels."""
KEYS = Credentials("access-key", "secret-key")
OK = httpx.Response(200, content=b'{"status":"ok","data":[]}')
NO_KEY = httpx.Response(
    200,
    content=b'{"status":"error","err-code":"api-signature-not-valid",'
    b'"err-msg":"Incorrect Access key [Access key error]"}',
)
BUSY = httpx.Response(503)


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    handlers, level = list(log.LOGGER.handlers), log.LOGGER.level
    yield
    log.LOGGER.handlers[:] = handlers
    log.LOGGER.setLevel(level)


class _VirtualTimes(logging.Formatter):
    """The format of `HTX_LOG`, with the times of a virtual clock."""

    converter = staticmethod(__import__("time").gmtime)

    def __init__(self) -> None:
        super().__init__(log._HANDLER.formatter._fmt)  # type: ignore[union-attr]

    def format(self, record: logging.LogRecord) -> str:
        record.created = round(VirtualClock().now(), 3)
        record.msecs = round(record.created % 1 * 1000)
        return super().format(record)


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(_VirtualTimes())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        pickle.dumps(record)  # as handlers do that pass it to another process


def logged(scenario: Callable[[], Awaitable[object]], level: int = logging.DEBUG) -> list[str]:
    """Return the lines that *scenario* logs on virtual time."""
    handler = _Lines()
    log.LOGGER.addHandler(handler)
    log.LOGGER.setLevel(level)
    random.seed(5)  # the delays before retries

    async def main() -> None:
        await scenario()

    run(main())
    log.LOGGER.removeHandler(handler)
    return handler.lines


def client(
    *steps: Step, credentials: object = KEYS, skew: float = 0.0, **options: object
) -> HTXClient:
    """Return a client whose attempts take 43 ms and have these results."""
    transport = ScriptedTransport(steps, delay=0.043, clock=VirtualClock())
    clock = VirtualClock(skew)
    return HTXClient(credentials, transport=transport, clock=clock, **options)  # type: ignore[arg-type]


async def queued() -> None:
    points = httpx.Response(200, content=b'{"code":200,"data":null}')
    async with client(*[points] * 3, coalesce=False, retry=NO_RETRY) as htx:
        calls = (htx.get("/v2/point/account") for _ in range(3))
        await asyncio.gather(*calls)


async def retry() -> None:
    async with client(BUSY, httpx.ReadError("reset"), OK) as htx:
        await htx.accounts.list()


async def exhausted() -> None:
    async with client(BUSY, BUSY, retry=RetryPolicy(attempts=2)) as htx:
        with pytest.raises(ServiceUnavailableError):
            await htx.accounts.list()


async def rate_limited() -> None:
    async with client(httpx.Response(429, headers={"Retry-After": "2"}), OK) as htx:
        await htx.accounts.list()


async def corrected_clock() -> None:
    sandbox = httpx.ASGITransport(app=Sandbox(clock=VirtualClock()))
    steps = [sandbox.handle_async_request] * 3
    async with client(*steps, skew=-7200.0) as htx:
        await htx.accounts.list()


async def rotated_key() -> None:
    keys = iter([Credentials("AKIDEXAMPLE-FIRST", "x"), Credentials("BKIDEXAMPLE-SECOND", "y")])

    async def provider() -> Credentials:
        return next(keys)

    async with client(OK, NO_KEY, OK, credentials=provider) as htx:
        await htx.accounts.list()
        await asyncio.sleep(3600.0)
        await htx.accounts.list()


SCENARIOS: dict[str, Callable[[], Awaitable[None]]] = {
    "Queued calls": queued,
    "Retry": retry,
    "Retries exhausted": exhausted,
    "Rate limited (429)": rate_limited,
    "Clock skew": corrected_clock,
    "Key rotation": rotated_key,
}


def sample(line: str) -> str:
    """Return a line as the page shows it: without time and logger, and not too wide for it."""
    _, _, level, text = line.split(" ", 3)
    text = f"{level} {text.removeprefix('htx_async: ')}"
    return textwrap.fill(text, SAMPLE_WIDTH, subsequent_indent="    ", break_on_hyphens=False)


@pytest.mark.parametrize("heading", SCENARIOS)
def test_logging_page_shows_the_output(heading: str) -> None:
    """The samples of the page are what the package logs."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n### {heading}\n")[2]
    block = re.search(r"```text\n(.*?)```", section, re.DOTALL)
    assert block is not None, heading
    assert "\n".join(map(sample, logged(SCENARIOS[heading]))) == block[1].rstrip("\n")


def test_attempts_are_logged_with_path_and_queueing() -> None:
    """The path is the one that was sent, without the query."""

    async def queued() -> None:
        points = httpx.Response(200, content=b'{"code":200,"data":{}}')
        async with client(*[points] * 3, retry=NO_RETRY) as htx:
            calls = (htx.get(f"/v2/point/{number}", params={"x": 1}) for number in range(3))
            await asyncio.gather(*calls)
            limit = htx.limits()["GET /v2/point/{id}"].limit
            assert limit.requests == 10

    lines = logged(queued)
    assert [line.partition("htx_async: ")[2] for line in lines] == [
        f"GET /v2/point/{number}: attempt 1: HTTP 200 in 0.043 s" for number in range(3)
    ]


def test_cancelled_attempt_is_logged() -> None:
    async def cancelled() -> None:
        async def hang(_: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        async with client(hang) as htx:
            call = asyncio.create_task(htx.accounts.list())
            await asyncio.sleep(1.0)
            call.cancel()
            await asyncio.sleep(5.0)

    (line,) = logged(cancelled)
    assert line.endswith("GET /v1/account/accounts: attempt 1: CancelledError in 3.000 s")


def test_single_failure_is_no_warning() -> None:
    """It is raised; only retries that did not help, and 429s, are warnings."""

    async def fail() -> None:
        async with client(BUSY, NO_KEY) as htx:
            for _ in range(2):
                with pytest.raises(HTXError):
                    await htx.with_options(retry=NO_RETRY).accounts.list()

    assert logged(fail, logging.INFO) == []


def test_clock_correction_by_dates_is_logged_once() -> None:
    """By the dates of responses alone, and again when the local clock is set."""
    clock = VirtualClock(skew=-20.0)

    async def main() -> None:
        sandbox = httpx.ASGITransport(app=Sandbox(clock=VirtualClock()))
        async with HTXClient(KEYS, transport=sandbox, clock=clock) as htx:
            for _ in range(3):
                await htx.accounts.list()
            clock.skew = 0.0
            for _ in range(3):
                await htx.accounts.list()

    ahead, again = logged(main, logging.INFO)
    assert re.search(r"HTX's clock is 20\.\d+ s ahead of this machine's: .* HTX's time$", ahead)
    assert again.endswith("requests are signed with the local time")


@pytest.mark.parametrize(
    ("value", "level"),
    [("debug", logging.DEBUG), ("INFO", logging.INFO), (" Debug ", logging.DEBUG)],
)
def test_htx_log_prints_records_to_stderr(
    value: str,
    level: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each once, also if it is turned on twice."""
    monkeypatch.setenv("HTX_LOG", value)
    log.read_environment()
    log.read_environment()
    assert log.LOGGER.level == level
    log.LOGGER.info("hello")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO htx_async: hello", line)


@pytest.mark.parametrize(("value", "warnings"), [("", 0), ("warning", 1), ("1", 1), ("debug!", 1)])
def test_htx_log_of_another_value_is_ignored_with_a_warning(
    value: str, warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTX_LOG", value)
    level = log.LOGGER.level
    log.read_environment()
    assert log.LOGGER.level == level
    assert {type(handler) for handler in log.LOGGER.handlers} == {logging.NullHandler}
    texts = [record.getMessage() for record in caplog.records]
    assert texts == ["HTX_LOG is ignored: it must be debug or info"] * warnings


@pytest.mark.slow
def test_htx_log_is_read_on_import() -> None:
    """Without it nothing is printed, not even a warning, but for a wrong value."""
    code = "import htx_async, logging; logging.getLogger('htx_async').warning('hello')"
    for value, lines in (("info", 1), ("", 0), ("on", 1)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"HTX_LOG": value},
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(done.stderr.splitlines()) == lines
