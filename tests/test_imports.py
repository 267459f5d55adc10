"""What `import htx_async` brings: not much that a program may never need."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEEDED = "asyncio, attrs, msgspec"
"""What everybody needs; what these bring is theirs."""
LIBRARIES = {"aiohttp", "anyio", "cattrs", "cryptography", "cyclopts", "httpx", "opentelemetry"}
LIBRARIES |= {"pydantic_core", "redis", "rich", "uvicorn"}
STANDARD = {"email", "hashlib", "hmac", "importlib.metadata", "importlib.resources", "ipaddress"}
STANDARD |= {"json", "pathlib", "secrets", "tempfile", "urllib.parse", "urllib.request"}
"""What a client or a transport brings once it is made, or what only few calls want."""
TRANSPORT = {"aiohttp_wire", "httpx_wire", "leases", "leasing", "redis_server", "wire"}
OURS = {f"htx_async.transport.{name}" for name in TRANSPORT}
OURS |= {"htx_async.cli", "htx_async.otel", "htx_async.sandbox", "htx_async.models.pydantic"}


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import htx_async", "from htx_async import *"])
def test_what_is_rarely_needed_is_imported_where_it_is_used(code: str) -> None:
    """Each of these takes a part of the time that a program or a command needs to start."""
    tell = f"import sys, {NEEDED}; had = {{*sys.modules}}; {code}; print(*{{*sys.modules}} - had)"
    run = subprocess.run([sys.executable, "-c", tell], check=True, capture_output=True, text=True)
    brought = set(run.stdout.split())
    assert "htx_async.client" in brought
    assert not brought & (LIBRARIES | STANDARD | OURS)
