"""
What the package shows to the world, as text: one line for each name, its signature, its members.

`python -m tests.surface` writes it to `surface.txt`. Do so when the surface changes on purpose,
and let the diff be reviewed: whatever goes from there, goes from somebody's program.

`released.txt` is the surface of the last release; `python -m tests.surface --released` makes it
so. What is different since has to be named in the changelog, under "[Unreleased]".
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import htx_async
from htx_async import otel, sandbox
from htx_async.sandbox import faults

PATH = Path(__file__).with_name("surface.txt")
RELEASED = Path(__file__).with_name("released.txt")
TYPED = Path(htx_async.__file__).with_name("py.typed")
MODULES = (htx_async, sandbox, faults, otel)
"""Those that the reference names."""
_WIDTH = 90
_QUOTED = re.compile(r"(: |-> )'([^']*)'")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_TOP = re.compile(r"(?:class )?([\w.]+)")
_MEMBER = re.compile(r"    (?:async def |def |property |classmethod |staticmethod )?(\w+)")
_UNRELEASED = re.compile(r"^## \[Unreleased\]$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


def surface() -> str:
    """Return the public surface of `htx_async` and of the modules that are public."""
    lines: list[str] = []
    for module in MODULES:
        prefix = f"{module.__name__}.".removeprefix("htx_async.")
        for name in sorted(_public(module)):
            lines += _shown(prefix + name, getattr(module, name))
    return "\n".join(lines) + "\n"


def _public(module: ModuleType) -> list[str]:
    """Return what a module exports: what it says, else what is made in it."""
    made = [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    names: list[str] = getattr(module, "__all__", made)
    return [name for name in names if not isinstance(getattr(module, name), ModuleType)]


def _shown(name: str, value: Any) -> list[str]:
    if not isinstance(value, type):
        signature = _signature(value) if inspect.isroutine(value) else f": {type(value).__name__}"
        return [name + signature]
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    members = [
        f"    {line}"
        for member in sorted(_members(value))
        for line in [_member(member, inspect.getattr_static(value, member))]
    ]
    return [f"class {name}({bases})", f"    {_signature(value)}", *members]


def _members(kind: type) -> set[str]:
    """Return the public names that our own classes give to *kind*, not those of builtins."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("htx_async")]
    if issubclass(kind, htx_async.HTXError):
        own = [kind] if kind is not htx_async.HTXError else own  # the rest is the base's
    return {
        name
        for base in own
        for name in [*vars(base), *_annotated(base)]
        if not name.startswith("_")
    }


def own_members(kind: type) -> list[str]:
    """Return the public names that stand in the body of *kind*."""
    return [name for name in vars(kind) if not name.startswith("_")]


def _annotated(kind: type) -> list[str]:
    return list(vars(kind).get("__annotations__", {}))


def _member(name: str, value: Any) -> str:
    if isinstance(value, classmethod | staticmethod):
        return f"{type(value).__name__} {name}{_signature(value.__func__)}"
    if isinstance(value, property):
        return f"property {name} -> {value.fget.__annotations__.get('return', '?')}"
    if inspect.isfunction(value):
        word = "async def" if inspect.iscoroutinefunction(value) else "def"
        return f"{word} {name}{_signature(value)}"
    return name


def _signature(value: Any) -> str:
    if isinstance(value, type) and issubclass(value, str):
        return "(text)"  # Python's versions disagree about `str`
    text = _QUOTED.sub(r"\1\2", _ADDRESS.sub("", str(inspect.signature(value))))
    return text if len(text) <= _WIDTH else _one_a_line(text)


def _one_a_line(text: str) -> str:
    """Return a signature with a line for each parameter."""
    depth, lines = 0, [""]
    for char in text:
        closing = depth == 1 and char == ")"
        lines += [""] if closing else []
        lines[-1] += char
        depth += (char in "([") - (char in ")]")
        lines += [""] if depth == 1 and char in "(," else []
    inner = [f"        {line.strip()}" for line in lines[1:-1]]
    return "\n".join([lines[0], *inner, f"    {lines[-1]}"])


def entries(text: str) -> dict[str, str]:
    """Return the lines of each name, `HTXClient`, and of each member, `HTXClient.get`."""
    found: dict[str, str] = {}
    top = key = ""
    for line in text.splitlines():
        if name := _TOP.match(line):
            top = key = name[1]
        elif member := _MEMBER.match(line):
            key = f"{top}.{member[1]}"
        elif line.startswith("    ("):
            key = top
        found[key] = f"{found.get(key, '')}{line}\n"
    return found


def unannounced(before: str, after: str, changelog: str) -> list[str]:
    """Return what differs between two surfaces and is not named as unreleased."""
    old, new = entries(before), entries(after)
    words = {word for code in _CODE.findall(_unreleased(changelog)) for word in _words(code)}
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    return sorted(
        key for key in changed if not _told_with_class(key, old, new) and _last(key) not in words
    )


def _unreleased(changelog: str) -> str:
    section = _UNRELEASED.search(changelog)
    return section[1] if section else ""


def _words(code: str) -> list[str]:
    return re.findall(r"\w+", code)


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _told_with_class(key: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether it came or went with its class: then the name of that is enough."""
    top = key.rpartition(".")[0]
    return (top in old) != (top in new)


if __name__ == "__main__":
    (RELEASED if "--released" in sys.argv else PATH).write_text(surface(), encoding="utf-8")
