"""The pytest plugin, here and in projects with other plugins."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from htx_async import AccountNotFoundError, HTXClient
from htx_async.sandbox import APIKey, Sandbox, SandboxUser
from htx_async.testing.plugin import htx_client, htx_sandbox

__all__ = ["htx_client", "htx_sandbox"]  # fixtures: the package may not be installed here

ROOT = Path(__file__).parents[2]
EXAMPLES = re.compile(r"^## pytest fixtures$(.*?)^## Custom", re.MULTILINE | re.DOTALL)
BLOCKS = re.compile(r"^```python$(.*?)^```$", re.MULTILINE | re.DOTALL)


async def test_client_reads_the_sandbox(htx_sandbox: Sandbox, htx_client: HTXClient) -> None:
    htx_sandbox.set_points("5")
    assert (await htx_client.points.balance()).group_ids[-1].remain_amt == 5
    assert htx_sandbox.requests == 1


async def test_client_and_sandbox_are_new_for_each_test(htx_client: HTXClient) -> None:
    assert (await htx_client.points.balance()).group_ids[-1].remain_amt != 5


def test_client_may_run_in_a_loop_of_the_test(htx_client: HTXClient) -> None:
    async def main() -> None:
        with pytest.raises(AccountNotFoundError):
            await htx_client.accounts.balance(42)

    asyncio.run(main())


def test_client_may_remain_unused(htx_client: HTXClient) -> None:
    assert "api.huobi.pro" in repr(htx_client)


class TestOtherUsers:
    """The client has the first key of the first user."""

    @pytest.fixture
    def htx_sandbox(self) -> Sandbox:
        return Sandbox((SandboxUser(7, (APIKey("a", "b"),)),))

    async def test_sandbox_can_be_overridden(self, htx_client: HTXClient) -> None:
        assert await htx_client.accounts.list() == ()


def run_examples(path: Path, plugin: str, mark: str, ini: str = "") -> None:
    """Run the examples of the documentation with only this and our plugin."""
    page = (ROOT / "docs" / "guides" / "testing.md").read_text(encoding="utf-8")
    (section,) = EXAMPLES.findall(page)
    tests = "\n".join(BLOCKS.findall(section))
    (path / "test_examples.py").write_text(f"import pytest\n{mark}\n{tests}", encoding="utf-8")
    (path / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{ini}", encoding="utf-8")
    plugins = ["-p", "htx_async.testing.plugin", "-p", plugin]
    packages = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": packages}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins],
        cwd=path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\b[3-9] passed", run.stdout), run.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "mark"), [("auto", ""), ("strict", "pytestmark = pytest.mark.asyncio")]
)
def test_examples_run_with_pytest_asyncio(tmp_path: Path, mode: str, mark: str) -> None:
    scope = "asyncio_default_fixture_loop_scope = function"
    run_examples(tmp_path, "pytest_asyncio.plugin", mark, f"asyncio_mode = {mode}\n{scope}")


@pytest.mark.slow
def test_examples_run_with_a_loop_of_the_module(tmp_path: Path) -> None:
    """The loop outlives the client."""
    mark = 'pytestmark = pytest.mark.asyncio(loop_scope="module")'
    scope = "asyncio_default_fixture_loop_scope = function"
    run_examples(tmp_path, "pytest_asyncio.plugin", mark, scope)


@pytest.mark.slow
def test_examples_run_with_anyio(tmp_path: Path) -> None:
    backend = '@pytest.fixture\ndef anyio_backend():\n    return "asyncio"'
    mark = f"pytestmark = pytest.mark.anyio\n{backend}"
    run_examples(tmp_path, "anyio.pytest_plugin", mark)


def test_plugin_is_registered() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"htx_async": "htx_async.testing.plugin"}
