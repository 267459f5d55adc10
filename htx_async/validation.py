"""Checks of arguments. A wrong one raises `InvalidInputError` before anything is sent."""

from __future__ import annotations

import ipaddress
import operator
import re
import sys
from collections.abc import Collection, Mapping
from typing import Final, TypeGuard, cast
from urllib.parse import urlsplit

import msgspec

from htx_async.errors import InvalidInputError

MAX_DIGITS = 100
"""Longest id that is accepted. HTX's ids have at most 18 digits."""

# Compiled on first use and cached by `re`: few calls need one.
_HOST = r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}"
_LOWER, _UPPER = r"[a-z0-9-]{1,40}", r"[A-Z0-9-]{1,40}"
_DIGITS = r"[0-9]+"
_ACCOUNT_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,39}(:[A-Za-z0-9_-]{1,40})?"
DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host (lower case) and port that requests are sent to."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        return _is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{host}" if default else f"{self.scheme}://{host}:{self.port}"


def numeric_id(value: object, name: str) -> str:
    """Return the digits of an id that is an int or a string of ASCII digits."""
    text = value if isinstance(value, str) else _digits(value)
    if text is None:
        kind = type(value).__name__
        msg = f"{name} must be a whole number or its digits, got {kind}"
        raise InvalidInputError(msg)
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        msg = (
            f"{name} must be digits only, at most {MAX_DIGITS}, for example 1000001: "
            f"got {text[:40]!r}"
        )
        raise InvalidInputError(msg)
    return text


def account_name(value: object, name: str) -> tuple[str, str] | None:
    """Return the type and subtype in text such as `margin:btcusdt`; `None`: *value* is an id."""
    if not isinstance(value, str) or re.fullmatch(_DIGITS, value):
        return None
    if not re.fullmatch(_ACCOUNT_NAME, value):
        msg = (
            f"{name} must be an id such as 1000001, or a type such as spot or margin:btcusdt: "
            f"got {value[:40]!r}"
        )
        raise InvalidInputError(msg)
    type_, _, subtype = value.partition(":")
    return type_, subtype


def enum_value(value: object, name: str, example: str) -> str:
    """Return a word in the case that *example* has: HTX distinguishes `usd` and `USD`."""
    form, case = (_UPPER, "upper") if example.isupper() else (_LOWER, "lower")
    if isinstance(value, str) and re.fullmatch(form, value):
        return str(value)
    excerpt = repr(value[:40]) if isinstance(value, str) else type(value).__name__
    msg = f"{name} must be a word in {case} case, for example {example}: got {excerpt}"
    raise InvalidInputError(msg)


def enum_values(values: object, name: str, example: str) -> frozenset[str]:
    """Return the words of a collection: see `enum_value`."""
    kind = type(values).__name__
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Collection):
        msg = f"{name} must be a collection such as {{{example!r}}}, got {kind}"
        raise InvalidInputError(msg)
    items = cast("Collection[object]", values)
    return frozenset(enum_value(value, f"each of {name}", example) for value in items)


def positive_seconds(value: object, name: str) -> float:
    """Return a positive, finite number of seconds."""
    if not _is_number(value) or not value > 0:
        msg = f"{name} must be a positive number of seconds, got {_excerpt(value)}"
        raise InvalidInputError(msg)
    return value


def int_at_least(value: object, least: int, name: str) -> int:
    """Return an int that is *least* or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name} must be a whole number of at least {least}, got {_excerpt(value)}"
        raise InvalidInputError(msg)
    return value


def key_problem(key: object, name: str) -> str | None:
    """Return what is wrong with a key, without the key; `None` if nothing is."""
    if not isinstance(key, str):
        return f"{name} must be text, not {type(key).__name__}"
    if not key:
        return f"{name} is empty. Check that the variable it comes from is set."
    if key != key.strip():
        return f"{name} begins or ends with white space. Check for a newline at its end."
    if not key.isascii() or not key.isprintable() or " " in key:
        return (
            f"{name} contains white space or a character that keys do not have. "
            "Check that it was copied completely."
        )
    return None


def valid_host(host: str | None) -> str:
    """Return *host* without a trailing dot, which certificates do not have; "": it is invalid."""
    host = (host or "").removesuffix(".")
    return host if ":" in host or re.fullmatch(_HOST, host) else ""


def parse_base_url(base_url: object) -> Origin:
    """Return the origin of *base_url*. Plain http is accepted for loopback only."""
    problem, origin = _parse_base_url(base_url)
    if origin is None:
        msg = f"base_url {problem}, for example https://api.huobi.pro"
        raise InvalidInputError(msg)
    return origin


def _parse_base_url(base_url: object) -> tuple[str, Origin | None]:
    if not isinstance(base_url, str) or not base_url.isascii() or not base_url.isprintable():
        return "must be ASCII text without blanks", None
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return "is not a URL", None
    host = valid_host(parts.hostname)
    if parts.scheme not in DEFAULT_PORTS or not host or port == 0:
        return "must start with https:// and name a host", None
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or password", None
    if parts.path not in ("", "/") or parts.query or parts.fragment or base_url[-1] in "?#":
        return "must not contain a path, query or fragment", None
    if parts.scheme == "http" and not _is_loopback(host):
        return "must be https: plain http would expose keys, and is for loopback only", None
    return "", Origin(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme])


def _digits(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # `TypeError` if it has none
    except TypeError:
        return None
    # `str` rejects very long numbers; so does the check of the digits.
    return str(number) if abs(number) < 10**MAX_DIGITS else "too long"


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max  # excludes NaN, too


def _excerpt(value: object) -> str:
    # `repr` rejects very long numbers.
    too_long = isinstance(value, int) and abs(value) >= 10**MAX_DIGITS
    return "a number with too many digits" if too_long else f"{value!r:.40}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
