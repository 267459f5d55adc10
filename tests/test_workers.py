"""The application of the page "Many workers", run by uvicorn with several workers."""

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

PAGE = Path(__file__).parent.parent / "docs" / "workers.md"
ANEW = httpx.Limits(max_keepalive_connections=0)
"""A connection for each read: so both workers have some."""


@pytest.mark.slow
async def test_the_workers_of_the_page_share(redis_process: RedisProcess, tmp_path: Path) -> None:
    """Many read points at once, of which HTX allows two a second: none is refused."""
    [code] = re.findall(r"```python\n(import os\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "app.py").write_text(code, encoding="utf-8")
    await asyncio.to_thread(redis_process.grow, 10.0)
    sandbox, port = Sandbox(window="sliding"), free_port()
    async with sandbox.serve() as base_url:
        keys = {"HTX_ACCESS_KEY": "access-key", "HTX_SECRET_KEY": "secret-key"}
        keys["PYTHONPATH"] = str(PAGE.parent.parent)
        env = os.environ | keys | {"HTX_BASE_URL": base_url, "REDIS_URL": redis_process.url}
        command = [sys.executable, "-m", "uvicorn", "app:app", "--workers", "2"]
        command += ["--port", str(port)]
        workers = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=env, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(30), httpx.AsyncClient(timeout=20.0, limits=ANEW) as browser:
                await started(workers.stderr, 2)
                answers: list[httpx.Response] = []
                while len(sandbox.arrivals) < 4:  # each worker has asked twice
                    reads = [browser.get(f"http://127.0.0.1:{port}/points") for _ in range(20)]
                    answers += await asyncio.gather(*reads)
        finally:
            workers.send_signal(signal.SIGTERM)
            await asyncio.wait_for(workers.communicate(), 20)
    assert {answer.status_code for answer in answers} == {200}
    assert sandbox.rate_limited == 0


async def started(said: asyncio.StreamReader | None, count: int) -> None:
    """Wait until so many workers say that they have started."""
    assert said is not None
    for _ in range(count):
        await said.readuntil(b"startup complete.")
