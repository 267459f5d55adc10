"""The programs of the docs, run as their readers run them: as processes, against a sandbox."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import signal
import sys
import tomllib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import attrs
import httpx
import pytest
import pytest_asyncio

from htx_async.sandbox import Sandbox, SandboxUser, default_users, faults

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "docs" / "recipes"
ENGINE, SCRIPT = str(RECIPES / "engine.py"), str(RECIPES / "balances_csv.py")
EXAMPLE = "91.850043797676510303"
FIRST_ROW = "data.list[0].balance"
Served: TypeAlias = tuple[Sandbox, httpx.AsyncClient]
BALANCE = "GET /v1/account/accounts/{account-id}/balance"

pytestmark = pytest.mark.slow


@asynccontextmanager
async def process(base_url: str, *command: str) -> AsyncIterator[Process]:
    """Run Python with keys and address of a sandbox; end it if it does not end itself."""
    keys = {"HTX_ACCESS_KEY": "access-key", "HTX_SECRET_KEY": "secret-key"}
    path = os.pathsep.join([str(ROOT), str(RECIPES)])
    environment = os.environ | keys | {"HTX_BASE_URL": base_url, "PYTHONPATH": path}
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", *command, stdout=pipe, stderr=pipe, env=environment
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def told(stream: asyncio.StreamReader | None, pattern: str) -> re.Match[str]:
    """Return where *pattern* is in the first line that has it."""
    assert stream is not None
    lines = []
    async with asyncio.timeout(10):
        while line := (await stream.readline()).decode():
            lines.append(line)
            if found := re.search(pattern, line):
                return found
    raise AssertionError("".join(lines))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def application() -> AsyncIterator[Served]:
    """Serve the FastAPI recipe, and give what it asks and a client of it."""
    options = ("--port", "0", "--backlog", "4096", "--ws", "none")
    sandbox = Sandbox()
    async with (
        sandbox.serve() as htx,
        process(htx, "-m", "uvicorn", *options, "fastapi_app:app") as started,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        client.base_url = httpx.URL((await told(started.stderr, r"http://[\d.:]+"))[0])
        yield sandbox, client
        started.terminate()
        assert await asyncio.wait_for(started.wait(), 10) in (0, -signal.SIGTERM)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_application_answers(application: Served) -> None:
    """Amounts are exact, and strings also in the schema; its health costs HTX nothing."""
    sandbox, client = application
    health = (await client.get("/health")).json()
    assert health[BALANCE] == 100
    assert sandbox.requests == 0
    accounts = (await client.get("/accounts")).json()
    spot = next(account for account in accounts if account["type"] == "spot")
    rows = (await client.get(f"/accounts/{spot['id']}/balance")).json()
    assert rows[0] == {
        "currency": "usdt",
        "trade": "91.850043797676510303",
        "frozen": "5.160000000000000015",
        "total": "97.010043797676510318",
    }
    points = (await client.get("/points")).json()
    assert points["acct_balance"] == "148.94159266"
    assert points["group_ids"][-1]["expiry_date"] is None
    schema = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert schema["Currency"]["properties"]["trade"]["type"] == "string"
    assert schema["PointBalance"]["properties"]["acct_balance"]["type"] == "string"
    assert set(schema["Account"]["properties"]) == {"id", "type", "subtype", "state"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_thousand_ask_and_htx_is_asked_a_few_times(application: Served) -> None:
    """Equal reads that wait share a request: also of points, of which HTX allows 2 a second."""
    sandbox, client = application
    before = sandbox.requests
    async with asyncio.timeout(30):
        paths = ("/points", "/accounts/1000001/balance") * 500
        answers = await asyncio.gather(*(fetched(client.base_url, path) for path in paths))
        assert {head.partition(b"\r\n")[0] for head, _ in answers} == {b"HTTP/1.1 200 OK"}
        assert len({body for _, body in answers}) == 2
        assert len(answers) == 1000
        assert sandbox.requests - before <= 60
        assert sandbox.rate_limited == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_the_application_tells_errors(application: Served) -> None:
    """
    Each kind has the status that says whose fault it is, and none has a key in it.

    The last that asks: afterwards the application waits for a minute, as it was told to.
    """
    sandbox, client = application

    async def status(path: str, *expected: faults.Fault) -> tuple[int, str, str | None]:
        for fault in expected:
            sandbox.faults.always(fault)
        answer = await client.get(path)
        sandbox.faults.clear()
        assert "access-key" not in answer.text
        return answer.status_code, answer.json()["error"], answer.headers.get("retry-after")

    balance = "/accounts/1000001/balance"
    assert await status("/accounts/42/balance") == (404, "AccountNotFoundError", None)
    assert await status("/accounts/-1/balance") == (422, "InvalidInputError", None)
    broken = faults.field("data.list[0].balance", None)
    assert await status(balance, broken) == (502, "DecodeError", None)
    wrong_key = faults.refusal("api-signature-not-valid", "Incorrect Access key")
    assert await status(balance, wrong_key) == (500, "AccessKeyError", None)
    wait = faults.too_many(headers=False, retry_after=60)
    assert await status(balance, wait) == (503, "RateLimitedError", "60")


async def fetched(where: httpx.URL, path: str) -> tuple[bytes, bytes]:
    """Return head and body of an answer, on a bare connection: a thousand clients are slow."""
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head, body


async def test_the_engine_reacts_to_changes_only() -> None:
    """Through faults and a restart of the exchange, until it is told to stop."""
    before = Sandbox()
    async with AsyncExitStack() as stack:
        async with before.serve() as base_url:
            engine = await stack.enter_async_context(process(base_url, ENGINE))
            await told(engine.stdout, r"watching 5 accounts, each every 0\.2 s")
            await asked(before, 10)
            before.faults.at(1, faults.reset())
            before.faults.next(faults.maintenance(), times=5)
            before.faults.at(10, faults.html(502))
            await asked(before, 24)
            before.faults.always(faults.field(FIRST_ROW, "0.5"), endpoint=BALANCE)
            moved = await told(engine.stdout, "1000001 usdt trade .*")
        assert moved[0] == "1000001 usdt trade 91.850043797676510303 -> 0.5"
        assert before.rate_limited == 0
        await told(engine.stdout, "no news: ConnectError")
        after = Sandbox(moved_world())
        async with after.serve(port=int(base_url.rpartition(":")[2])):
            moved = await told(engine.stdout, "1000001 usdt .*")
            assert moved[0] == "1000001 usdt trade 0.5 -> 7.25"
            engine.send_signal(signal.SIGTERM)
            await ended(engine)
            assert after.rate_limited == 0


async def test_the_engine_ends_cleanly() -> None:
    """Also on Ctrl-C, and while it waits for an exchange that does not answer."""
    was_asked = asyncio.Event()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        was_asked.set()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with process(f"http://127.0.0.1:{port}", ENGINE) as engine, asyncio.timeout(10):
            await was_asked.wait()
            engine.send_signal(signal.SIGINT)
            await ended(engine)


async def test_the_engine_does_not_go_on_with_a_wrong_key() -> None:
    """What does not help by waiting ends it, with an exit code that says so."""
    sandbox = Sandbox(users=())
    async with sandbox.serve() as base_url, process(base_url, ENGINE) as engine:
        _, said = await asyncio.wait_for(engine.communicate(), 10)
        assert engine.returncode == 1
        assert b"AccessKeyError" in said


async def test_the_script_prints_what_is_there() -> None:
    """Every row of every account that is not zero, digit for digit."""
    async with Sandbox().serve() as base_url, process(base_url, SCRIPT) as script:
        said, errors = await asyncio.wait_for(script.communicate(), 10)
    assert (script.returncode, errors) == (0, b"")
    rows = list(csv.DictReader(said.decode().splitlines()))
    assert list(rows[1].values()) == ["1000001", "spot", "", "usdt", "trade", EXAMPLE]
    assert {row["account_type"] for row in rows} > {"point", "margin", "super-margin"}
    assert any(row["type"] == "loan" and row["balance"].startswith("-") for row in rows)
    assert all(Decimal(row["balance"]) for row in rows)


async def test_the_script_tells_what_it_could_not_read() -> None:
    """One account fails: the others are printed, and the exit code is not 0."""
    sandbox = Sandbox()
    eighth_row = "data.list[7].balance"  # only margin accounts have so many
    sandbox.faults.always(faults.field(eighth_row, None), endpoint=BALANCE)
    async with sandbox.serve() as base_url, process(base_url, SCRIPT) as script:
        said, errors = await asyncio.wait_for(script.communicate(), 10)
    assert script.returncode == 1
    assert eighth_row.encode() in errors
    assert len(said.splitlines()) > 5


def test_the_script_names_what_it_needs() -> None:
    """Its metadata is what runners of scripts read, and is ours."""
    text = Path(SCRIPT).read_text(encoding="utf-8")
    block = re.search(r"(?m)^# /// script$\n((?:^#(?:| .*)$\n)+)^# ///$", text)
    assert block is not None
    wanted = tomllib.loads(re.sub(r"(?m)^# ?", "", block[1]))
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert wanted["dependencies"] == [ours["name"]]
    assert wanted["requires-python"] == ours["requires-python"]


async def asked(sandbox: Sandbox, times: int) -> None:
    """Wait until it was asked so often."""
    while sandbox.requests < times:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.02)


def moved_world() -> tuple[SandboxUser, ...]:
    """Return the usual users, with another amount in the first row of the spot account."""
    parent, *others = default_users()
    point, spot, *rest = parent.accounts
    rows = (attrs.evolve(spot.rows[0], balance="7.25"), *spot.rows[1:])
    accounts = (point, attrs.evolve(spot, rows=rows), *rest)
    return (attrs.evolve(parent, accounts=accounts), *others)


async def ended(engine: Process) -> None:
    """See that it stops by itself, and says nothing but that."""
    said, errors = await asyncio.wait_for(engine.communicate(), 10)
    assert (engine.returncode, errors) == (0, b"")
    assert said.endswith(b"stopped\n")
