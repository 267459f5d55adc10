"""What callers may ask of HTX by themselves: a path and its parameters, checked before signing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias, cast

from htx_async.errors import InvalidInputError
from htx_async.validation import MAX_DIGITS

Value: TypeAlias = "str | int | Decimal"
"""What a parameter may be. A float is none: it may not be the number that was meant."""

AUTHENTICATION = frozenset(
    {"accesskeyid", "signaturemethod", "signatureversion", "timestamp", "signature"}
)
"""HTX, "Authentication": parameters that the signature brings along, in lower case."""

_MAX_PATH = 500
# What stands in a URL as it is: so what is signed is what is sent, whoever writes it.
_PATH = r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"
_NAME = r"[A-Za-z0-9._-]{1,100}"


def path(value: object) -> str:
    """Return a path that can be signed and sent as it is."""
    if not isinstance(value, str):
        msg = f"path must be text such as /v2/user/uid, not {type(value).__name__}"
        raise InvalidInputError(msg)
    if fault := _fault_in_path(value):
        # Not the path itself: somebody may have pasted a signed URL.
        msg = f"path {fault}: it must look like /v2/user/uid"
        raise InvalidInputError(msg)
    return str(value)


def _fault_in_path(text: str) -> str:
    faults = (
        (not text.startswith("/"), "must start with / and name no host"),
        (text.startswith("//"), "must name no host"),
        ("?" in text, "must have no ?, what follows it goes into params"),
        ("#" in text, "must have no #"),
        (len(text) > _MAX_PATH, f"must have at most {_MAX_PATH} characters"),
        (
            not re.fullmatch(_PATH, text),
            "must be names of letters, digits and -._~, none empty or beginning with a point",
        ),
    )
    return next((words for wrong, words in faults if wrong), "")


def params(given: object) -> tuple[tuple[str, str], ...]:
    """Return parameters as text, in the order of their names; `None` is none."""
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        msg = f"params must be a mapping of names to values, not {type(given).__name__}"
        raise InvalidInputError(msg)
    said = cast("Mapping[object, object]", given)
    return tuple(sorted(_parameter(name, value) for name, value in said.items()))


def _parameter(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        msg = "the name of a parameter must be letters, digits and -._, at most 100"
        raise InvalidInputError(msg)
    if name.lower() in AUTHENTICATION:
        msg = f"params must not have {name}: the signature brings it along"
        raise InvalidInputError(msg)
    said = _text(value)
    if said is None:
        msg = (
            f"the parameter {name} must be text or a whole number of at most {MAX_DIGITS} digits, "
            f"or a Decimal, not {_kind(value)}"
        )
        raise InvalidInputError(msg)
    return str(name), said


def _text(value: object) -> str | None:
    """Return *value* as HTX reads it; `None`: it cannot be said."""
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int.__repr__(value) if abs(value) < 10**MAX_DIGITS else None
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < MAX_DIGITS:
        return f"{value:f}"
    return None


def _plain(text: str) -> str | None:
    try:
        return text.encode().decode()  # a plain `str`, also of a member of an enumeration
    except UnicodeEncodeError:  # half a character
        return None


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text with half a character in it"
    return "one of more digits" if isinstance(value, Decimal | int) else type(value).__name__
