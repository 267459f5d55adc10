"""The recipes of the docs, run as processes against a sandbox."""

from __future__ import annotations

import asyncio
import csv
import gc
import importlib.util
import io
import json
import os
import re
import signal
import sys
import tomllib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import attrs
import httpx
import pytest
import pytest_asyncio

from htx_async import Credentials, HTXClient, Position
from htx_async.sandbox import Sandbox, SandboxUser, default_users, faults
from tests.virtual import VirtualClock

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "docs" / "recipes"
ENGINE, SCRIPT = str(RECIPES / "engine.py"), str(RECIPES / "balances_csv.py")
TAX_EXPORT = str(RECIPES / "tax_export.py")
HISTORY = "GET /v1/account/history"
EXAMPLE = "91.850043797676510303"
FIRST_ROW = "data.list[0].balance"
Served: TypeAlias = tuple[Sandbox, httpx.AsyncClient]
BALANCE = "GET /v1/account/accounts/{account-id}/balance"

pytestmark = pytest.mark.slow


@asynccontextmanager
async def process(base_url: str, *command: str) -> AsyncIterator[Process]:
    """Run Python with the environment of a sandbox user; kill it if it does not exit."""
    credentials = {"HTX_ACCESS_KEY": "access-key", "HTX_SECRET_KEY": "secret-key"}
    path = os.pathsep.join([str(ROOT), str(RECIPES)])
    environment = os.environ | credentials | {"HTX_BASE_URL": base_url, "PYTHONPATH": path}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", *command, stdout=pipe, stderr=pipe, env=environment
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def read_until(stream: asyncio.StreamReader | None, pattern: str) -> re.Match[str]:
    """Read lines until one matches *pattern*, and return the match."""
    assert stream is not None
    lines = []
    async with asyncio.timeout(10):
        while line := (await stream.readline()).decode():
            lines.append(line)
            if match := re.search(pattern, line):
                return match
    raise AssertionError("".join(lines))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def application() -> AsyncIterator[Served]:
    """Serve the FastAPI recipe; return its sandbox and an HTTP client for it."""
    options = ("--port", "0", "--backlog", "4096", "--ws", "none")
    graceful = ("--timeout-graceful-shutdown", "2")
    sandbox = Sandbox()
    async with (
        sandbox.serve() as htx,
        process(htx, "-m", "uvicorn", *options, *graceful, "fastapi_app:app") as server,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        client.base_url = httpx.URL((await read_until(server.stderr, r"http://[\d.:]+"))[0])
        yield sandbox, client
        server.terminate()
        assert await asyncio.wait_for(server.wait(), 10) in (0, -signal.SIGTERM)


@pytest.mark.asyncio(loop_scope="module")
async def test_fastapi_recipe_returns_exact_amounts(application: Served) -> None:
    """Amounts are strings, also in the schema. The health check sends no request to HTX."""
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
async def test_fastapi_recipe_sends_balances_as_events(application: Served) -> None:
    """First the balance, then each change; two callers share a stream."""
    sandbox, client = application
    url = "/accounts/1000001/events"
    async with client.stream("GET", url) as first, client.stream("GET", url) as second:
        assert first.headers["content-type"].startswith("text/event-stream")
        for response in (first, second):
            lines = response.aiter_lines()
            assert await anext(lines) == "event: balance"
            assert "91.850043797676510303" in await anext(lines)
            sandbox.move("margin:btcusdt", "usdt", trade="7")
            sandbox.move("spot", "usdt", trade="50", cause="deposit")
            assert [await anext(lines) for _ in range(2)] == ["", "event: change"]
            change = json.loads((await anext(lines)).removeprefix("data: "))
            assert (change["account_id"], change["after"]) == (1000001, "50")
            assert change["cause"] == "deposit"
            sandbox.move("spot", "usdt", trade=EXAMPLE)
    streams = [each for each in sandbox.arrivals if (each.method, each.path) == ("GET", "/ws/v2")]
    assert len(streams) == 1
    assert (await client.get("/accounts/42/events")).status_code == 404


async def test_fastapi_recipe_keeps_nothing_of_a_caller_that_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither its task nor its buffer; callers that are silent get a comment."""
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.setenv("HTX_SECRET_KEY", "secret-key")
    recipe = module_of("fastapi_app")
    monkeypatch.setattr(recipe, "KEEP_ALIVE", 0.05)
    gone, sent = asyncio.Event(), asyncio.Queue[str]()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.put_nowait(message.get("body", b"").decode())

    async with Sandbox().serve() as base_url:
        monkeypatch.setenv("HTX_BASE_URL", base_url)
        app = recipe.app
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/accounts/1000001/events",
            "headers": [],
        }
        scope |= {"query_string": b"", "http_version": "1.1"}
        async with recipe.lifespan(app):
            calls = [asyncio.create_task(app({**scope}, receive, send)) for _ in range(20)]
            while "keep-alive" not in await sent.get():
                pass
            live = app.state.stream.live
            assert len(live._consumers) == 20
            assert len(app.state.htx._stream_hub()._streams) == 1
            gone.set()
            await asyncio.gather(*calls)
            gc.collect()
            assert len(live._consumers) == 0
            assert live.synced
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio(loop_scope="module")
async def test_fastapi_recipe_coalesces_a_thousand_calls(application: Served) -> None:
    """Identical queued calls share a request: also for points, HTX allows 2 requests a second."""
    sandbox, client = application
    before = sandbox.requests
    async with asyncio.timeout(30):
        paths = ("/points", "/accounts/1000001/balance") * 500
        responses = await asyncio.gather(*(fetch(client.base_url, path) for path in paths))
        assert {head.partition(b"\r\n")[0] for head, _ in responses} == {b"HTTP/1.1 200 OK"}
        assert len({body.partition(b',"received_at"')[0] for _, body in responses}) == 2
        assert len(responses) == 1000
        assert sandbox.requests - before <= 120  # fewer on a fast machine
        assert sandbox.rate_limited == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_fastapi_recipe_maps_errors_to_statuses(application: Served) -> None:
    """
    Each error has its status, and no response contains a key.

    This must be the last test of the application: `Retry-After` blocks it for a minute.
    """
    sandbox, client = application

    async def status(path: str, *injected: faults.Fault) -> tuple[int, str, str | None]:
        for fault in injected:
            sandbox.faults.always(fault)
        response = await client.get(path)
        sandbox.faults.clear()
        assert "access-key" not in response.text
        return response.status_code, response.json()["error"], response.headers.get("retry-after")

    balance = "/accounts/1000001/balance"
    assert await status("/accounts/42/balance") == (404, "AccountNotFoundError", None)
    assert (await client.get("/accounts/-1/balance")).status_code == 422
    broken = faults.field("data.list[0].balance", None)
    assert await status(balance, broken) == (502, "DecodeError", None)
    wrong_key = faults.refusal("api-signature-not-valid", "Incorrect Access key")
    assert await status(balance, wrong_key) == (500, "AccessKeyError", None)
    wait = faults.too_many(headers=False, retry_after=60)
    assert await status(balance, wait) == (503, "RateLimitedError", "60")


async def fetch(url: httpx.URL, path: str) -> tuple[bytes, bytes]:
    """Return head and body of a response, without a client: a thousand of them are slow."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head, body


async def test_engine_recipe_reports_changes_through_faults_and_a_restart() -> None:
    """It prints changes, decides by proven balances, reports gaps, and stops on a signal."""
    sandbox = Sandbox()
    async with AsyncExitStack() as stack:
        async with sandbox.serve() as base_url:
            engine = await stack.enter_async_context(process(base_url, ENGINE))
            await read_until(engine.stdout, r"1000001 spot usdt 97\.010043797676510318")
            await read_until(engine.stdout, r"following \d accounts")
            sandbox.move("spot", "usdt", trade="50", cause="order.place")
            change = await read_until(engine.stdout, "1000001 usdt trade .*")
            assert change[0] == "1000001 usdt trade 91.850043797676510303 -> 50 order.place"
            await read_until(engine.stdout, "an order may use 50 usdt")
            sandbox.faults.next(faults.maintenance(), times=3, endpoint=BALANCE)
            sandbox.interrupt_streams(faults.reset())
            await read_until(engine.stdout, "gap disconnected")
            sandbox.move("spot", "usdt", trade="0.5")
            await read_until(engine.stdout, r"1000001 usdt trade 50 -> 0\.5 (resync|other)")
            await read_until(engine.stdout, "resynced disconnected")
            await read_until(engine.stdout, "synced")
        assert sandbox.rate_limited == 0
        await read_until(engine.stdout, "gap disconnected")
        restarted = Sandbox(changed_users())
        async with restarted.serve(port=int(base_url.rpartition(":")[2])):
            change = await read_until(engine.stdout, "1000001 usdt .*")
            assert change[0] == "1000001 usdt trade 0.5 -> 7.25 resync"
            await read_until(engine.stdout, "resynced disconnected")
            engine.send_signal(signal.SIGTERM)
            await assert_stops(engine)
            assert restarted.rate_limited == 0


async def test_engine_recipe_stops_on_ctrl_c_while_retrying() -> None:
    """The exchange closes every connection without a response."""
    connected = asyncio.Event()

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        connected.set()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with process(f"http://127.0.0.1:{port}", ENGINE) as engine, asyncio.timeout(10):
            await connected.wait()
            engine.send_signal(signal.SIGINT)
            await assert_stops(engine)


async def test_engine_recipe_exits_on_a_permanent_error() -> None:
    """With a wrong key the exit code is 1."""
    sandbox = Sandbox(users=())
    async with sandbox.serve() as base_url, process(base_url, ENGINE) as engine:
        _, errors = await asyncio.wait_for(engine.communicate(), 10)
        assert engine.returncode == 1
        assert b"AccessKeyError" in errors


async def test_script_recipe_prints_all_nonzero_rows() -> None:
    """Every row of every account that is not zero, digit for digit."""
    async with Sandbox().serve() as base_url, process(base_url, SCRIPT) as script:
        output, errors = await asyncio.wait_for(script.communicate(), 10)
    assert (script.returncode, errors) == (0, b"")
    rows = list(csv.DictReader(output.decode().splitlines()))
    assert list(rows[1].values()) == ["1000001", "spot", "", "usdt", "trade", EXAMPLE]
    assert {row["account_type"] for row in rows} > {"point", "margin", "super-margin"}
    assert any(row["type"] == "loan" and row["balance"].startswith("-") for row in rows)
    assert all(Decimal(row["balance"]) for row in rows)


async def test_script_recipe_reports_failed_accounts() -> None:
    """The other accounts are printed, and the exit code is 1."""
    sandbox = Sandbox()
    eighth_row = "data.list[7].balance"  # only margin accounts have so many
    sandbox.faults.always(faults.field(eighth_row, None), endpoint=BALANCE)
    async with sandbox.serve() as base_url, process(base_url, SCRIPT) as script:
        output, errors = await asyncio.wait_for(script.communicate(), 10)
    assert script.returncode == 1
    assert eighth_row.encode() in errors
    assert len(output.splitlines()) > 5


async def test_tax_export_prints_all_movements_of_thirty_days(virtual_time: VirtualClock) -> None:
    """Of all accounts, each once and in order, within HTX's rate limit."""
    sandbox = Sandbox(clock=virtual_time)

    def now() -> datetime:
        return datetime.fromtimestamp(virtual_time.now(), UTC)

    end = now()
    added = [sandbox.add_movement("point", "hbpoint", 1, at=end - timedelta(days=30))] + [
        sandbox.add_movement(
            account, "usdt", "-0.000000000000000001", at=end - timedelta(hours=age)
        )
        for account in ("spot", "margin", "otc")
        for age in (29 * 24, 1, 0)
    ]
    file = io.StringIO()
    async with HTXClient(
        Credentials("access-key", "secret-key"),
        transport=httpx.ASGITransport(app=sandbox),
        clock=virtual_time,
    ) as htx:
        assert await module_of("tax_export").export(htx, file, 30, now) == 0
    rows = list(csv.DictReader(file.getvalue().splitlines()))
    assert {str(row.record_id) for row in added} < {row["record"] for row in rows}
    assert len(rows) == len({row["record"] for row in rows}) == len(added) + 4 * 30 * 4
    times = [(row["account"], row["time"]) for row in rows]
    assert all(before[1] <= after[1] for before, after in pairwise(times) if before[0] == after[0])
    assert rows[-1]["amount"] == "-0.000000000000000001"
    assert sandbox.rate_limited == 0
    assert 6 * 719 < sandbox.requests <= 6 * 720 + 1


async def test_tax_export_reports_an_account_that_failed_and_its_position() -> None:
    """The other accounts are exported; an hour of them here. The exit code is 1."""
    sandbox = Sandbox()
    sandbox.faults.next(faults.refusal("base-operation-forbidden"), endpoint=HISTORY)
    async with sandbox.serve() as base_url, process(base_url, TAX_EXPORT, "0.04") as script:
        output, errors = await asyncio.wait_for(script.communicate(), 20)
    assert script.returncode == 1
    assert output.startswith(b"time,account,account_type,currency,type,amount,balance,record\n")
    position = Position.from_json(errors.decode().rpartition("position: ")[2])
    assert (position.list, position.account_id) == ("history", 14403739)


def module_of(name: str) -> ModuleType:
    """Return a recipe as a module."""
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", [SCRIPT, TAX_EXPORT])
def test_script_recipe_declares_its_dependencies(path: str) -> None:
    """Its inline metadata agrees with pyproject.toml."""
    text = Path(path).read_text(encoding="utf-8")
    block = re.search(r"(?m)^# /// script$\n((?:^#(?:| .*)$\n)+)^# ///$", text)
    assert block is not None
    metadata = tomllib.loads(re.sub(r"(?m)^# ?", "", block[1]))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["dependencies"] == [project["name"]]
    assert metadata["requires-python"] == project["requires-python"]


async def wait_for_requests(sandbox: Sandbox, count: int) -> None:
    """Wait until *sandbox* has received *count* requests."""
    while sandbox.requests < count:  # noqa: ASYNC110 - a sandbox has no event for requests
        await asyncio.sleep(0.02)


def changed_users() -> tuple[SandboxUser, ...]:
    """Return the default users, with another amount in the first row of the spot account."""
    parent, *others = default_users()
    point, spot, *rest = parent.accounts
    rows = (attrs.evolve(spot.rows[0], balance="7.25"), *spot.rows[1:])
    accounts = (point, attrs.evolve(spot, rows=rows), *rest)
    return (attrs.evolve(parent, accounts=accounts), *others)


async def assert_stops(engine: Process) -> None:
    """Assert that the engine exits with code 0 and prints nothing but "stopped" at the end."""
    output, errors = await asyncio.wait_for(engine.communicate(), 10)
    assert (engine.returncode, errors) == (0, b"")
    assert output.endswith(b"stopped\n")
