"""Who imports whom: the levels of the house, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import htx_async

ROOT = Path(htx_async.__file__).parent
PLAIN_VALUES = {
    *("request", "flight", "alarms", "bucket", "queue", "budget"),
    *("leases", "ledger", "spare", "leasing", "callers", "redis_server"),
}
"""Modules of `transport` that are no layer: what goes through the layers, and the pure rules."""
WIRES = {"http", "wire", "body", "httpx_wire", "aiohttp_wire"}
"""The bottom layer, and the two ways to go on from there."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


SOURCES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def running(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield all that runs: `if TYPE_CHECKING:` is for type checkers only."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from running(node.orelse)
        else:
            yield node
            yield from running(ast.iter_child_nodes(node))


def imported(source: str) -> set[str]:
    """Return every module that *source* imports at run time."""
    found: set[str] = set()
    for node in running([ast.parse(source)]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = inner & SOURCES.keys()
            found |= modules if modules == inner else modules | {node.module}
    return found


IMPORTS = {name: imported(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def ours(name: str) -> set[str]:
    return {each for each in IMPORTS[name] if each.split(".")[0] == "htx_async"}


def inside(package: str) -> list[str]:
    return [name for name in SOURCES if name.startswith(f"{package}.")]


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import httpx", {"httpx"}),
        ("from httpx import URL", {"httpx"}),
        ("def f():\n    import httpx", {"httpx"}),
        ("if TYPE_CHECKING:\n    import httpx", set()),
        ("if typing.TYPE_CHECKING:\n    import httpx\nelse:\n    import ssl", {"ssl"}),
        ("from htx_async import validation", {"htx_async.validation"}),
        ("from htx_async import validation, HTXClient", {"htx_async.validation", "htx_async"}),
        ("from htx_async.errors import HTXError", {"htx_async.errors"}),
    ],
)
def test_how_imports_are_read(source: str, modules: set[str]) -> None:
    """Those of type checkers do not count, those inside of functions do."""
    assert imported(source) == modules


def test_there_is_something_to_read() -> None:
    """The rules below would hold for nothing, too."""
    assert {"htx_async.client", "htx_async.transports.adapter"} <= SOURCES.keys()
    assert inside("htx_async.resources")
    assert inside("htx_async.sandbox")


@pytest.mark.parametrize("name", inside("htx_async.resources"))
def test_resources_know_no_layer(name: str) -> None:
    """They name an endpoint, its limit and its model; how it is read is not their business."""
    below = {each for each in ours(name) if each.startswith("htx_async.transport")}
    assert below <= {"htx_async.request"}
    assert not {"htx_async.client", "htx_async"} & ours(name)


@pytest.mark.parametrize("name", inside("htx_async.transport"))
def test_layers_do_not_know_each_other(name: str) -> None:
    """Every one holds the next `send`, and knows what goes through it."""
    plain = {f"htx_async.transport.{each}" for each in PLAIN_VALUES}
    beside = {each for each in ours(name) if each.startswith("htx_async.transport")}
    wires = {f"htx_async.transport.{each}" for each in WIRES}
    assert beside <= (plain | wires if name in wires else plain)
    above = ("htx_async.client", "htx_async.resources", "htx_async.sandbox", "htx_async.cli")
    assert not [each for each in ours(name) if each.startswith(above)]
    assert "htx_async" not in ours(name)


@pytest.mark.parametrize("name", ["htx_async.errors", "htx_async.clock"])
def test_errors_and_the_clock_stand_alone(name: str) -> None:
    """Everything may import them."""
    assert ours(name) == set()


@pytest.mark.parametrize("library", ["httpx", "aiohttp", "redis", "cattrs"])
def test_one_module_knows_a_library(library: str) -> None:
    """Each of them can be exchanged in one place."""
    users = [
        name
        for name, modules in IMPORTS.items()
        if any(module.split(".")[0] == library for module in modules)
    ]
    assert len(users) <= 1
    known = {
        "httpx": ["htx_async.transports.httpx"],
        "aiohttp": ["htx_async.transports.aiohttp"],
        "redis": ["htx_async.ratelimit.redis.connection"],
        "cattrs": ["htx_async.models.structure"],
    }
    assert users == known.get(library, users)


@pytest.mark.parametrize("name", ["htx_async.sandbox", *inside("htx_async.sandbox")])
def test_the_sandbox_is_another_house(name: str) -> None:
    """It is HTX, not us: it would share our mistakes. It takes the clock, and nothing else."""
    others = {each for each in ours(name) if not each.startswith("htx_async.sandbox")}
    assert others <= {"htx_async.clock"}


def test_nobody_but_the_command_needs_an_extra() -> None:
    """`pip install htx-async` alone is enough for the client."""
    extras = {"cyclopts", "rich", "uvicorn", "respx", "pytest", "hypothesis", "aiohttp", "redis"}
    extras |= {"opentelemetry", "pydantic", "pydantic_core", "pandas", "polars"}
    allowed = {"htx_async.__main__", "htx_async.models.pydantic"} | set(inside("htx_async.cli"))
    allowed |= {"htx_async.transports.aiohttp", "htx_async.otel"}
    allowed |= {"htx_async.ratelimit.redis.connection"}  # where a budget asks for it
    for name in SOURCES.keys() - allowed - set(inside("htx_async.sandbox")):
        assert not {module.split(".")[0] for module in IMPORTS[name]} & extras, name
