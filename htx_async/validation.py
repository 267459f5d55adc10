"""Checks of arguments. A wrong one raises `InvalidInputError` before anything is sent."""

from __future__ import annotations

import ipaddress
import operator
import re
import sys
from collections.abc import Mapping
from typing import Final, TypeGuard
from urllib.parse import urlsplit

import msgspec

from htx_async.errors import InvalidInputError

MAX_DIGITS = 100
"""Longest id that is accepted. HTX's ids have at most 18 digits."""

# Compiled on first use and cached by `re`: few calls need one.
_HOST = r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}"
_LOWER, _UPPER = r"[a-z0-9-]{1,40}", r"[A-Z0-9-]{1,40}"
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


def enum_value(value: object, name: str, example: str) -> str:
    """Return a word in the case that *example* has: HTX distinguishes `usd` and `USD`."""
    form, case = (_UPPER, "upper") if example.isupper() else (_LOWER, "lower")
    if isinstance(value, str) and re.fullmatch(form, value):
        return str(value)
    excerpt = repr(value[:40]) if isinstance(value, str) else type(value).__name__
    msg = f"{name} must be a word in {case} case, for example {example}: got {excerpt}"
    raise InvalidInputError(msg)


def positive_seconds(value: object, name: str) -> float:
    """Return a positive, finite number of seconds."""
    if not _is_number(value) or not value > 0:
        msg = f"{name} must be a positive number of seconds, got {_excerpt(value)}"
        raise InvalidInputError(msg)
    return value


def seconds(value: object, name: str) -> float:
    """Return a finite number of seconds of at least 0."""
    if not _is_number(value) or value < 0:
        msg = f"{name} must be a number of seconds of at least 0, got {_excerpt(value)}"
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
        del base_url  # it may contain a password, which a traceback would show
        raise InvalidInputError(problem)
    return origin


def base_url_problem(base_url: object) -> str:
    """Return what is wrong with *base_url*; `""`: nothing."""
    return _parse_base_url(base_url)[0]


def _parse_base_url(base_url: object) -> tuple[str, Origin | None]:
    if not isinstance(base_url, str) or not base_url.isascii() or not base_url.isprintable():
        return _wrong_url("must be ASCII text without blanks")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return _wrong_url("is not a URL")
    host = valid_host(parts.hostname)
    if parts.scheme not in DEFAULT_PORTS or not host or port == 0:
        return _wrong_url("must start with https:// and name a host")
    if parts.username is not None or parts.password is not None:
        return _wrong_url("must not contain a user or password")
    if parts.path not in ("", "/") or parts.query or parts.fragment or base_url[-1] in "?#":
        return _wrong_url("must not contain a path, query or fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        return _wrong_url("must be https: plain http would expose keys, and is for loopback only")
    return "", Origin(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme])


def _wrong_url(problem: str) -> tuple[str, None]:
    return f"base_url {problem}, for example https://api.huobi.pro", None


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
