"""
Sphinx extension that shows attributes, arguments and members of enumerations as tables.

The sections `Attributes:` and `Args:` of a class become one row per name, with its type and default
from the code. Signatures of classes lose their types, and parameters that callers do not pass.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.pycode import ModuleAnalyzer

ITEM = re.compile(r" {4}(\w+): +(\S.*)")
Rows = list[tuple[str, ...]]

INTERNAL_TYPES = {
    "AsyncTransport": "HTTPTransport | httpx.AsyncBaseTransport",
    "Provider": "Callable[[], Awaitable[Credentials]]",
    "Listener": "Callable[[Event], object]",
    "Kind": "str",
    "Delivery": "str",
    "StreamEventKind": "str",
    "GapReason": "str",
    "ParamValue": "str | int | Decimal",
}
"""What the reference shows for names of types that are not public."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers, before napoleon's."""
    app.connect("autodoc-process-docstring", add_tables, priority=400)
    app.connect("autodoc-process-signature", simplify_signature)
    return {"parallel_read_safe": True}


def add_tables(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Replace sections of a class by tables, and add the members of an enumeration."""
    del app, name, options
    if what not in ("class", "exception") or not isinstance(obj, type):
        return
    types = annotations_of(obj)
    start, attributes = cut_section(lines, "Attributes")
    if attributes:
        rows = [(literal(item), literal(types[item]), text) for item, text in attributes]
        lines[start:start] = table(("Attribute", "Type", "Description"), rows)
    start, arguments = cut_section(lines, "Args")
    if arguments:
        defaults = defaults_of(obj)
        rows = [(literal(item + defaults[item]), text) for item, text in arguments]
        lines[start:start] = table(("Argument", "Description"), rows)
    if issubclass(obj, enum.Enum):
        comments = comments_of(obj)
        members = [(literal(m.value), literal(m.name), comments[m.name]) for m in obj]
        lines += table(("Value", "Member", "Meaning"), members)


def cut_section(lines: list[str], section: str) -> tuple[int, list[tuple[str, str]]]:
    """Remove a section; return where it was, and its names with their descriptions."""
    if f"{section}:" not in lines:
        return 0, []
    start = lines.index(f"{section}:")
    end = start + 1
    while end < len(lines) and (not lines[end] or lines[end].startswith("    ")):
        end += 1
    items: list[tuple[str, str]] = []
    for line in lines[start + 1 : end]:
        if match := ITEM.match(line):
            items.append((match[1], match[2]))
        elif line.strip():
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
    del lines[start:end]
    return start, items


def annotations_of(cls: type) -> dict[str, str]:
    """Return the type of each attribute as text."""
    types: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        types |= inspect.get_annotations(base)
        properties = {k: v for k, v in vars(base).items() if isinstance(v, property)}
        types |= {k: inspect.get_annotations(v.fget)["return"] for k, v in properties.items()}
    return {key: public_type(str(value)) for key, value in types.items()}


def defaults_of(cls: type) -> dict[str, str]:
    """Return the type and default of each argument, as in a signature."""
    texts = {}
    for name, parameter in parameters_of(cls).items():
        texts[name] = f": {public_type(str(parameter.annotation))}"
        default = parameter.default
        if default is not parameter.empty:
            is_plain = not hasattr(default, "__attrs_attrs__") or default != type(default)()
            shown = repr(default) if is_plain else f"{type(default).__name__}()"
            texts[name] += f" = {shown}"
    return texts


def public_type(text: str) -> str:
    """Return an annotation without the names of internal types."""
    return re.sub(r"\w+", lambda name: INTERNAL_TYPES.get(name[0], name[0]), text)


def literal(text: str) -> str:
    """Return text as a literal of reStructuredText; an empty one as two quotation marks."""
    shown = text or '""'
    return f"``{shown}``"


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class that callers pass."""
    try:
        parameters = inspect.signature(cls).parameters
    except ValueError:  # of a class that is implemented in C
        return {}
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind is not parameter.VAR_POSITIONAL
    }


def comments_of(cls: type[enum.Enum]) -> dict[str, str]:
    """Return the docstring of each member of an enumeration; all must have one."""
    comments = ModuleAnalyzer.for_module(cls.__module__).find_attr_docs()
    texts = {m.name: " ".join(comments.get((cls.__name__, m.name), [])).strip() for m in cls}
    if missing := [name for name, text in texts.items() if not text]:
        msg = f"{cls.__name__}: these members have no docstring: {', '.join(missing)}"
        raise ExtensionError(msg)
    return texts


def table(header: tuple[str, ...], rows: Rows) -> list[str]:
    """Return a list table."""
    lines = ["", ".. list-table::", "   :header-rows: 1", "   :class: members", ""]
    for row in (header, *rows):
        lines += cells(row)
    return [*lines, ""]


def cells(texts: Iterable[str]) -> Iterator[str]:
    """Return the lines of one row."""
    for index, text in enumerate(texts):
        yield f"   {'*' if index == 0 else ' '} - {text}"


def simplify_signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    return_annotation: str | None,
) -> tuple[str | None, str | None]:
    """Remove what a table says, and what callers do not pass."""
    del app, name, options
    if what not in ("class", "exception") or not isinstance(obj, type):
        public = public_type(re.sub(r": [\w.~]*Unpack\[[\w.]+\]", "", signature or ""))
        return public or None, return_annotation
    if "Args:" not in (inspect.getdoc(obj) or ""):
        return "", None
    return str(inspect.Signature([plain(p) for p in parameters_of(obj).values()])), None


class _Default:
    def __repr__(self) -> str:
        return "..."


def plain(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter without its type, and with `...` as its default if it has one."""
    empty = inspect.Parameter.empty
    default = empty if parameter.default is empty else _Default()
    return parameter.replace(annotation=empty, default=default)
