"""Which package may import which, read from the sources; and the names that are not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import htx_async

ROOT = Path(htx_async.__file__).parent

PACKAGE_MAY_IMPORT: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "clock": set(),
    "redaction": set(),
    "log": set(),
    "validation": {"errors"},
    "error_codes": {"errors"},
    "options": {"errors", "validation"},
    "auth": {"errors", "clock", "redaction", "validation"},
    "ratelimit": {"errors", "clock", "redaction", "validation"},
    "events": {"errors", "clock", "validation", "ratelimit"},
    "models": {"errors", "validation"},
    "call_state": {"errors", "auth"},
    "request": {"errors", "options", "call_state", "ratelimit"},
    "transports": {"version", "errors", "clock", "redaction", "validation", "ratelimit", "request"},
    "stream": {
        *("errors", "error_codes", "clock", "redaction", "validation", "auth", "models"),
        "transports",
    },
    "resources": {"errors", "redaction", "validation", "models", "ratelimit", "request", "stream"},
    "middleware": {
        *("errors", "error_codes", "clock", "events", "redaction", "options", "auth", "models"),
        *("ratelimit", "call_state", "request", "transports"),
    },
    "client": {
        *("errors", "clock", "events", "validation", "options", "auth", "models", "ratelimit"),
        *("request", "middleware", "resources", "transports", "stream"),
    },
    "otel": {"errors", "clock", "events", "validation", "ratelimit", "stream"},
    "sandbox": {"clock", "models", "ratelimit"},
    "__init__": {
        *("errors", "clock", "events", "log", "options", "auth", "models", "ratelimit", "client"),
        *("resources", "transports", "stream"),
    },
    "cli": {
        *(
            "__init__",
            "version",
            "errors",
            "clock",
            "events",
            "log",
            "redaction",
            "validation",
            "options",
            "auth",
        ),
        *("error_codes", "models", "ratelimit", "request", "resources", "transports", "client"),
        *("sandbox", "stream"),
    },
    "__main__": {"version", "cli"},
    "testing": {"__init__", "clock", "sandbox"},
}
"""Modules and packages of the root, from the lowest to the highest."""

LIBRARIES = {
    "httpx": {
        "htx_async.transports.http_transport",
        "htx_async.testing.plugin",
        "htx_async.testing.scripted_transport",
    },
    "httptools": {"htx_async.transports.http_parser"},
    "redis": {"htx_async.ratelimit.redis.server"},
    "cattrs": {"htx_async.models.decoding"},
    "websockets": {"htx_async.stream.connection", "htx_async.sandbox.stream.websocket"},
    "pydantic_core": {"htx_async.models.pydantic"},
}
"""The only modules that import a library, so that it can be replaced in one place."""

EXTRAS = {
    "cyclopts",
    "rich",
    "uvicorn",
    "websockets",
    "respx",
    "pytest",
    "hypothesis",
    "pandas",
    "polars",
}
EXTRAS |= {"httpx2", "redis", "opentelemetry", "pydantic", "pydantic_core", "cryptography"}

BANNED = re.compile(
    r"_*(told|said|found|heard|hear|asked|fate|flights?|flight_.*|board|land|bells?|bell_.*"
    r"|spares?|spare_.*|see_off|noticing|usual|unmade|lose_patience)"
)
"""Identifiers of the first version that the terms of the field have replaced."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


SOURCES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def running(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes that run: `if TYPE_CHECKING:` is for type checkers only."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from running(node.orelse)
        else:
            yield node
            yield from running(ast.iter_child_nodes(node))


def imports_of(source: str, *, type_checking: bool = False) -> set[str]:
    """Return the modules that *source* imports at run time, or also for type checkers."""
    tree = ast.parse(source)
    modules: set[str] = set()
    for node in ast.walk(tree) if type_checking else running([tree]):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            known = inner & SOURCES.keys()
            modules |= known if known == inner else known | {node.module}
    return modules


TEXTS = {name: path.read_text(encoding="utf-8") for name, path in SOURCES.items()}
IMPORTS = {name: imports_of(text) for name, text in TEXTS.items()}
ALL_IMPORTS = {name: imports_of(text, type_checking=True) for name, text in TEXTS.items()}


def root_of(module: str) -> str:
    """Return the module or package of the root that *module* belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def ours(modules: Iterable[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] == "htx_async"}


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
def test_imports_are_read_from_the_source(source: str, modules: set[str]) -> None:
    """Those for type checkers do not count, those inside of functions do."""
    assert imports_of(source) == modules


def test_every_root_module_has_a_row() -> None:
    """The table names what there is, and nothing else."""
    roots = {root_of(name) for name in SOURCES if name != "htx_async"} | {"__init__"}
    assert roots == PACKAGE_MAY_IMPORT.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_down(name: str) -> None:
    """A module imports its own package and those below it, also for type checkers."""
    root = root_of(name)
    allowed = PACKAGE_MAY_IMPORT[root] | {root}
    assert {root_of(module) for module in ours(ALL_IMPORTS[name])} <= allowed


def test_the_table_has_no_cycle() -> None:
    """Each row only names rows above it."""
    above: set[str] = set()
    for root, allowed in PACKAGE_MAY_IMPORT.items():
        assert allowed <= above, root
        above.add(root)


def test_modules_have_no_import_cycle() -> None:
    """Not within a package either; what only type checkers read does not count."""
    remaining = {name: ours(modules) - {name} for name, modules in IMPORTS.items()}
    while remaining:
        free = {name for name, modules in remaining.items() if not modules & remaining.keys()}
        assert free, f"a cycle among {sorted(remaining)}"
        remaining = {name: modules for name, modules in remaining.items() if name not in free}


@pytest.mark.parametrize("library", LIBRARIES)
def test_library_is_imported_in_one_place(library: str) -> None:
    """The modules that know a library are few, and named here."""
    users = {
        name
        for name, modules in IMPORTS.items()
        if any(module.split(".")[0] == library for module in modules)
    }
    assert users <= LIBRARIES[library]


def test_only_optional_modules_import_an_extra() -> None:
    """`pip install htx-async` alone is enough for the client."""
    optional = {"cli", "otel", "sandbox", "__main__"}
    allowed = {name for names in LIBRARIES.values() for name in names}
    allowed |= {name for name in SOURCES if root_of(name) in optional}
    allowed |= {"htx_async.auth.credentials"}  # cryptography, in a function
    for name in SOURCES.keys() - allowed:
        assert not {module.split(".")[0] for module in IMPORTS[name]} & EXTRAS, name


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module defines: functions, classes, parameters, variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


@pytest.mark.parametrize("path", [*SOURCES.values(), *TESTS], ids=str)
def test_identifiers_are_the_terms_of_the_field(path: Path) -> None:
    """None of the private words of the first version is left, in the package and its tests."""
    names = set(identifiers(ast.parse(path.read_text(encoding="utf-8"))))
    assert not {identifier for identifier in names if BANNED.fullmatch(identifier)}


@pytest.mark.parametrize("name", SOURCES)
def test_self_is_only_used_in_methods(name: str) -> None:
    """In a function, the parameter or local has the name of its thing."""
    tree = ast.parse(TEXTS[name])
    methods = {
        function
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for function in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node not in methods:
            names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            assert "self" not in names, node.name
        if isinstance(node, ast.Name) and node.id == "self":
            assert not isinstance(node.ctx, ast.Store)
