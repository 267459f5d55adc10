"""
The public API as text: each public name with its signature and its members.

`python -m tests.surface` writes it to `surface.txt`. Run it after a change of the public API, and
review the diff: what is removed there breaks programs of users.

`released.txt` is the public API of the last release. `python -m tests.surface --released` updates
it. All differences from it must be listed in the changelog, under "[Unreleased]".
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
from htx_async import otel, sandbox, testing
from htx_async.sandbox import faults

PATH = Path(__file__).with_name("surface.txt")
RELEASED = Path(__file__).with_name("released.txt")
TYPED = Path(htx_async.__file__).with_name("py.typed")
MODULES = (htx_async, sandbox, faults, otel, testing)
"""The public modules: those in the reference."""
_WIDTH = 90
_QUOTED = re.compile(r"(: |-> )'([^']*)'")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_TOP = re.compile(r"(?:class )?([\w.]+)")
_MEMBER = re.compile(r"    (?:async def |def |property |classmethod |staticmethod )?(\w+)")
_UNRELEASED = re.compile(r"^## \[Unreleased\]$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


def surface() -> str:
    """Return the public API of all public modules."""
    lines: list[str] = []
    for module in MODULES:
        prefix = f"{module.__name__}.".removeprefix("htx_async.")
        for name in sorted(_public(module)):
            lines += _describe(prefix + name, getattr(module, name))
    return "\n".join(lines) + "\n"


def _public(module: ModuleType) -> list[str]:
    """Return the names that a module exports: `__all__`, else what it defines."""
    defined = [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    names: list[str] = getattr(module, "__all__", defined)
    return [name for name in names if not isinstance(getattr(module, name), ModuleType)]


def _describe(name: str, value: Any) -> list[str]:
    if not isinstance(value, type):
        signature = _signature(value) if inspect.isroutine(value) else f": {type(value).__name__}"
        return [name + signature]
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    members = [
        f"    {line}"
        for member in sorted(_members(value))
        for line in [_member(member, inspect.getattr_static(value, member, None))]
    ]
    return [f"class {name}({bases})", f"    {_signature(value)}", *members]


def _members(cls: type) -> set[str]:
    """Return the public members of *cls* that this package defines."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("htx_async")]
    if issubclass(cls, htx_async.HTXError):
        own = [cls] if cls is not htx_async.HTXError else own  # the base class lists the others
    return {
        name
        for base in own
        for name in [*vars(base), *_annotated(base)]
        if not name.startswith("_")
    }


def own_members(cls: type) -> list[str]:
    """Return the public members that are defined in the body of *cls*."""
    return [name for name in vars(cls) if not name.startswith("_")]


def _annotated(cls: type) -> list[str]:
    return list(inspect.get_annotations(cls))


def _member(name: str, value: Any) -> str:
    if isinstance(value, classmethod | staticmethod):
        return f"{type(value).__name__} {name}{_signature(value.__func__)}"
    if isinstance(value, property):
        return f"property {name} -> {value.fget.__annotations__.get('return', '?')}"
    if inspect.isfunction(value):
        keyword = "async def" if inspect.iscoroutinefunction(value) else "def"
        return f"{keyword} {name}{_signature(value)}"
    return name


def _signature(value: Any) -> str:
    if isinstance(value, type) and issubclass(value, str):
        return "(text)"  # Python's versions disagree about `str`
    text = _QUOTED.sub(r"\1\2", _ADDRESS.sub("", str(inspect.signature(value))))
    return text if len(text) <= _WIDTH else _one_per_line(text)


def _one_per_line(text: str) -> str:
    """Return a signature with one parameter per line."""
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
    """Return the lines of each name (`HTXClient`) and of each member (`HTXClient.get`)."""
    lines: dict[str, str] = {}
    top = key = ""
    for line in text.splitlines():
        if name := _TOP.match(line):
            top = key = name[1]
        elif member := _MEMBER.match(line):
            key = f"{top}.{member[1]}"
        elif line.startswith("    ("):
            key = top
        lines[key] = f"{lines.get(key, '')}{line}\n"
    return lines


def unlisted(before: str, after: str, changelog: str) -> list[str]:
    """Return the names that differ and are not in the unreleased section of *changelog*."""
    old, new = entries(before), entries(after)
    listed = {name for code in _CODE.findall(_unreleased(changelog)) for name in _names(code)}
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    return sorted(
        key for key in changed if not _covered_by_class(key, old, new) and _last(key) not in listed
    )


def _unreleased(changelog: str) -> str:
    section = _UNRELEASED.search(changelog)
    return section[1] if section else ""


def _names(code: str) -> list[str]:
    return re.findall(r"\w+", code)


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _covered_by_class(key: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Return whether the whole class was added or removed: then its name is sufficient."""
    top = key.rpartition(".")[0]
    return (top in old) != (top in new)


if __name__ == "__main__":
    (RELEASED if "--released" in sys.argv else PATH).write_text(surface(), encoding="utf-8")
