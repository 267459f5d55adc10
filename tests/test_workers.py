"""The application of the page "Many workers", run by uvicorn with several workers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from htx_async.sandbox import Sandbox
from tests.redis_process import RedisProcess, free_port

PAGE = Path(__file__).parent.parent / "docs" / "workers.md"


@pytest.mark.slow
async def test_the_workers_of_the_page_share(redis_process: RedisProcess, tmp_path: Path) -> None:
    """Two rounds of reads of points, of which HTX allows two a second: none is refused."""
    [code] = re.findall(r"```python\n(import os\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "app.py").write_text(code, encoding="utf-8")
    await asyncio.to_thread(redis_process.grow, 10.0)
    sandbox, port = Sandbox(window="sliding"), free_port()
    async with sandbox.serve() as base_url:
        keys = {"HTX_ACCESS_KEY": "access-key", "HTX_SECRET_KEY": "secret-key"}
        keys["PYTHONPATH"] = str(PAGE.parent.parent)
        env = os.environ | keys | {"HTX_BASE_URL": base_url, "REDIS_URL": redis_process.url}
        command = [sys.executable, "-m", "uvicorn", "app:app", "--workers", "2"]
        workers = subprocess.Popen(  # noqa: ASYNC220 - it ends with the test
            [*command, "--port", str(port)], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(30):
                answers = [await asyncio.gather(*(ask(port) for _ in range(12))) for _ in range(2)]
        finally:
            workers.send_signal(signal.SIGTERM)
            await asyncio.to_thread(workers.wait, 20)
    assert {answer.status_code for each in answers for answer in each} == {200}
    assert len(sandbox.arrivals) >= len(answers)
    assert sandbox.rate_limited == 0


async def ask(port: int) -> httpx.Response:
    """Ask on a connection of its own, once somebody listens."""
    async with httpx.AsyncClient(timeout=20.0) as browser:
        while True:
            try:
                return await browser.get(f"http://127.0.0.1:{port}/points")
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
