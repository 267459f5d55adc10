"""What `import htx_async` imports, and what is only imported when it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEEDED = "asyncio, attrs, msgspec"
"""What every program needs; their own imports do not count."""
LIBRARIES = {"anyio", "cattrs", "cryptography", "cyclopts", "httpx", "httpcore"}
LIBRARIES |= {"opentelemetry", "pydantic_core", "redis", "rich", "uvicorn", "websockets"}
STANDARD = {"email", "http", "importlib.metadata", "importlib.resources", "pathlib", "tempfile"}
STANDARD |= {"pickle", "urllib.request", "zipfile"}
OURS = {"cli", "models.pydantic", "otel", "sandbox", "stream", "testing"}
OURS |= {"transports.http_transport", "transports.httpx_adapter"}
REDIS = {"ratelimit.redis.bucket", "ratelimit.redis.queue", "ratelimit.redis.limiter"}


def imported(code: str) -> set[str]:
    """Return the modules that *code* imports in a fresh process."""
    script = f"import sys, {NEEDED}; had = {{*sys.modules}}; {code}; print(*{{*sys.modules}} - had)"
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(run.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", ["import htx_async", "from htx_async import HTXClient, RedisRateLimiter"]
)
def test_import_excludes_what_is_rarely_needed(code: str) -> None:
    """Each of these takes a part of the time that a program or a command needs to start."""
    modules = imported(code)
    assert "htx_async.client" in modules
    assert not modules & (LIBRARIES | STANDARD | {f"htx_async.{name}" for name in OURS})


@pytest.mark.slow
def test_import_of_the_pytest_plugin_excludes_what_its_fixtures_need() -> None:
    """Pytest imports it in every project in the same environment."""
    modules = imported("import pytest; had = {*sys.modules}; import htx_async.testing.plugin")
    assert "htx_async.testing.plugin" in modules
    ours = {f"htx_async.{name}" for name in OURS - {"testing"}}
    assert not modules & (LIBRARIES | STANDARD | ours | {"htx_async.testing.scripted_transport"})


@pytest.mark.slow
def test_import_excludes_redis_until_it_is_used() -> None:
    """`RedisRateLimiter` is a name of the package all the same."""
    redis = {f"htx_async.{name}" for name in REDIS}
    assert not imported("import htx_async") & redis
    assert redis <= imported("from htx_async import RedisRateLimiter")
