"""The application of docs/operations/multiple-processes.md, run by uvicorn with two workers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import httpx
import pytest

from htx_async.sandbox import Sandbox
from tests.redis_process import RedisProcess, free_port

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "operations" / "multiple-processes.md"
NO_KEEPALIVE = httpx.Limits(max_keepalive_connections=0)
"""A new connection for each request, so that both workers get some."""


@pytest.mark.slow
async def test_uvicorn_workers_of_docs_share_limit(
    redis_process: RedisProcess, tmp_path: Path
) -> None:
    """Many concurrent calls to an endpoint with two requests a second get no 429."""
    [code] = re.findall(r"```python\n(import os\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "app.py").write_text(code, encoding="utf-8")
    redis_process.settle(1.0)
    sandbox, port = Sandbox(window="sliding"), free_port()
    async with sandbox.serve() as base_url:
        keys = {"HTX_ACCESS_KEY": "access-key", "HTX_SECRET_KEY": "secret-key"}
        keys["PYTHONPATH"] = str(ROOT)
        env = os.environ | keys | {"HTX_BASE_URL": base_url, "REDIS_URL": redis_process.url}
        command = [sys.executable, "-m", "uvicorn", "app:app", "--workers", "2"]
        command += ["--port", str(port)]
        workers = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=env, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with (
                asyncio.timeout(30),
                httpx.AsyncClient(timeout=20.0, limits=NO_KEEPALIVE) as browser,
            ):
                await wait_for_startup(workers.stderr, 2)
                responses: list[httpx.Response] = []
                while len(sandbox.arrivals) < 4:  # two of each worker
                    calls = [browser.get(f"http://127.0.0.1:{port}/points") for _ in range(20)]
                    responses += await asyncio.gather(*calls)
        finally:
            workers.send_signal(signal.SIGTERM)
            await asyncio.wait_for(workers.communicate(), 20)
    assert {response.status_code for response in responses} == {200}
    assert sandbox.rate_limited == 0


async def wait_for_startup(log: asyncio.StreamReader | None, count: int) -> None:
    """Wait until *count* workers have logged that they have started."""
    assert log is not None
    for _ in range(count):
        await log.readuntil(b"startup complete.")
