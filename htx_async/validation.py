"""Checks of arguments. A wrong one raises `InvalidInputError` before anything is sent."""

from __future__ import annotations

import inspect
import ipaddress
import math
import operator
import re
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final, TypeGuard, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from htx_async.errors import InvalidInputError

T = TypeVar("T")

MAX_DIGITS = 100
"""Longest id that is accepted. HTX's ids have at most 18 digits."""

_MAX_TEXT = 100
_MAX_SHOWN = 16
"""Characters of a wrong text that is shown. HTX's keys are longer."""

# Compiled on first use and cached by `re`: few calls need one.
_HOST = r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}"
_BRACKETS = r"([^\[\]]*@)?\[[^\[\]]+\](:\d*)?"
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
        msg = f"{name} must be a whole number or its digits, got {type(value).__name__}"
        raise InvalidInputError(msg)
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        msg = (
            f"{name} must be digits only, at most {MAX_DIGITS}, for example 1000001: "
            f"got {_excerpt(text)}"
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
    got = _excerpt(value) if isinstance(value, str) else type(value).__name__
    msg = f"{name} must be a word in {case} case, for example {example}: got {got}"
    raise InvalidInputError(msg)


def words(value: object, name: str, example: str) -> str:
    """Return a short text that can be printed."""
    if isinstance(value, str) and value.isprintable() and len(value) <= _MAX_TEXT:
        return value
    got = "another text" if isinstance(value, str) else describe(value)
    msg = f"{name} must be text of at most {_MAX_TEXT} characters, such as {example}: got {got}"
    raise InvalidInputError(msg)


def boolean(value: object, name: str) -> bool:
    """Return `True` or `False`: other values are often mistakes, for example "no"."""
    return instance_of(value, bool, name, "True or False")


def instance_of(value: object, kind: type[T], name: str, expected: str) -> T:
    """Return *value*, which must be an instance of *kind*."""
    if not isinstance(value, kind):
        msg = f"{name} must be {expected}, got {describe(value)}"
        raise InvalidInputError(msg)
    return value


def enum_values(values: object, name: str, example: str) -> frozenset[str]:
    """Return the words of a collection: see `enum_value`."""
    got = describe(values)
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Collection):
        msg = f"{name} must be a collection such as {{{example!r}}}, got {got}"
        raise InvalidInputError(msg)
    items = cast("Collection[object]", values)
    return frozenset(enum_value(value, f"each of {name}", example) for value in items)


def aware_datetime(value: object, name: str) -> datetime:
    """Return an aware datetime in UTC. A naive one may be meant in any time zone."""
    example = "such as datetime(2026, 1, 31, tzinfo=UTC)"
    if not isinstance(value, datetime):
        msg = f"{name} must be an aware datetime {example}, got {describe(value)}"
        raise InvalidInputError(msg)
    problem = "a naive datetime"
    if value.utcoffset() is not None:
        try:
            return value.astimezone(UTC)
        except OverflowError:
            problem = "a time beyond the range of UTC"
    msg = f"{name} must be an aware datetime {example}, got {problem}"
    raise InvalidInputError(msg)


def callback(value: object, name: str) -> Callable[..., object]:
    """Return a function that is called and not awaited."""
    is_function = callable(value) and not isinstance(value, type)
    if not is_function or inspect.iscoroutinefunction(value):
        got = "an async function" if is_function else describe(value)
        msg = f"{name} must be a function that is not async, got {got}"
        raise InvalidInputError(msg)
    return cast("Callable[..., object]", value)


def positive_seconds(value: object, name: str) -> float:
    """Return a positive, finite number of seconds."""
    if not _is_number(value) or not value > 0:
        msg = f"{name} must be a positive number of seconds, got {describe(value)}"
        raise InvalidInputError(msg)
    return value


def fraction(value: object, name: str) -> float:
    """Return a number above 0 and at most 1."""
    if not _is_number(value) or not 0 < value <= 1:
        msg = f"{name} must be a number above 0 and at most 1, got {describe(value)}"
        raise InvalidInputError(msg)
    return value


def seconds(value: object, name: str) -> float:
    """Return a finite number of seconds of at least 0."""
    if not _is_number(value) or value < 0:
        msg = f"{name} must be a number of seconds of at least 0, got {describe(value)}"
        raise InvalidInputError(msg)
    return value


def int_at_least(value: object, least: int, name: str, most: int | None = None) -> int:
    """Return an int from *least* to *most*; `None`: of any size."""
    limit = math.inf if most is None else most
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= limit:
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        msg = f"{name} must be a whole number {limits}, got {describe(value)}"
        raise InvalidInputError(msg)
    return value


def describe(value: object) -> str:
    """Return a number as it is, and only the type of another value, which may be a secret."""
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if not isinstance(value, int | float):
        return type(value).__qualname__
    # `repr` rejects very long numbers.
    too_long = isinstance(value, int) and abs(value) >= 10**MAX_DIGITS
    return "a number with too many digits" if too_long else f"{value!r:.40}"


def key_problem(key: object, name: str) -> str | None:
    """Return what is wrong with a key, without the key; `None` if nothing is."""
    if not isinstance(key, str):
        return f"{name} must be text, not {type(key).__qualname__}"
    if not key.strip():
        return f"{name} is empty. Check that the variable it comes from is set."
    if "-----BEGIN" in key:
        return (
            f"{name} is a key in PEM format. Pass a private key to Credentials.ed25519(), or set "
            "it as HTX_PRIVATE_KEY."
        )
    if is_quoted(key):
        return f"{name} is in quotes. Remove them."
    if key != key.strip():
        return f"{name} begins or ends with white space. Check for a newline at its end."
    if not key.isascii() or not key.isprintable() or " " in key:
        return (
            f"{name} contains white space or a character that keys do not have. "
            "Check that it was copied completely."
        )
    return None


def is_quoted(text: str) -> bool:
    """Return whether *text* is in quotes, which some programs keep that read env files."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`"


def has_valid_brackets(netloc: str) -> bool:
    """Return whether nothing but a port follows the address in brackets, if there is one."""
    return not ("[" in netloc or "]" in netloc) or re.fullmatch(_BRACKETS, netloc) is not None


def valid_host(host: str | None) -> str:
    """Return *host* without a trailing dot, which certificates do not have; "": it is invalid."""
    host = (host or "").removesuffix(".")
    return host if ":" in host or re.fullmatch(_HOST, host) else ""


def parse_base_url(base_url: object) -> Origin:
    """Return the origin of *base_url*. Plain http is accepted for loopback only."""
    problem, origin = _parse_base_url(base_url)
    if origin is None:
        del base_url  # it may contain a password, which a traceback would show
        msg = f"base_url {problem}"
        raise InvalidInputError(msg)
    return origin


def base_url_problem(base_url: object, name: str = "base_url") -> str:
    """Return what is wrong with the *base_url* in the argument or variable *name*; "": nothing."""
    problem, _ = _parse_base_url(base_url)
    return f"{name} {problem}" if problem else ""


def _parse_base_url(base_url: object) -> tuple[str, Origin | None]:
    example = "for example https://api.huobi.pro"
    if not isinstance(base_url, str):
        kind = type(base_url).__qualname__
        return f"must be ASCII text without blanks, not {kind}, {example}", None
    if not base_url.isascii() or not base_url.isprintable():
        return f"must be ASCII text without blanks, {example}", None
    try:
        parts = urlsplit(base_url)
        port = DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    except ValueError:
        return f"is not a URL, or its port is not from 1 to 65535, {example}", None
    host = valid_host(parts.hostname)
    has_host = host and parts.scheme in DEFAULT_PORTS and has_valid_brackets(parts.netloc)
    has_more = (
        parts.path not in ("", "/") or parts.query or parts.fragment or base_url[-1:] in ("?", "#")
    )
    exposes_keys = parts.scheme == "http" and not _is_loopback(host)
    problems = (
        (not (has_host and port), "must start with https:// and name a host, with no port 0"),
        ("@" in parts.netloc, "must not contain a user or password"),
        (has_more, "must not contain a path, query or fragment"),
        (exposes_keys, "must be https: plain http would expose keys, and is for loopback only"),
    )
    for is_wrong, problem in problems:
        if is_wrong:
            return f"{problem}, {example}", None
    return "", Origin(parts.scheme, host, port)


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


def _excerpt(text: str) -> str:
    """Return a short text, and only the length of a long one: it may be a key."""
    return repr(text) if len(text) <= _MAX_SHOWN else f"{len(text)} characters"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
