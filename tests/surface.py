"""
What the package shows to the world, as text: one line for each name, its signature, its members.

`python -m tests.surface` writes it to `surface.txt`. Do so when the surface changes on purpose,
and let the diff be reviewed: whatever goes from there, goes from somebody's program.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import htx_async

PATH = Path(__file__).with_name("surface.txt")
TYPED = Path(htx_async.__file__).with_name("py.typed")
_WIDTH = 90
_QUOTED = re.compile(r"(: |-> )'([^']*)'")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def surface() -> str:
    """Return the public surface of `htx_async`."""
    lines: list[str] = []
    for name in sorted(htx_async.__all__):
        lines += _shown(name, getattr(htx_async, name, None))
    return "\n".join(lines) + "\n"


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


if __name__ == "__main__":
    PATH.write_text(surface(), encoding="utf-8")
