"""What callers may hand in. Everything else gets one clear sentence, and nothing is sent."""

from __future__ import annotations

import operator
import re
import sys
from typing import TypeGuard

import msgspec

from htx_async.errors import InvalidInputError

MAX_DIGITS = 100
"""The longest id that is taken for one. HTX's own have at most 18 digits."""

# Compiled when first used, and remembered by `re`: few calls need one.
_HOST = r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?"
_LOWER, _UPPER = r"[a-z0-9-]{1,40}", r"[A-Z0-9-]{1,40}"
_DEFAULT_PORTS = {"https": 443, "http": 80}


def identifier(value: object, name: str) -> str:
    """Return the digits of an id that was given as a whole number or as its ASCII digits."""
    text = value if isinstance(value, str) else _digits(value)
    if text is None:
        shown = type(value).__name__
        msg = f"{name} must be a whole number or its digits, not {shown}"
        raise InvalidInputError(msg)
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        msg = (
            f"{name} must be digits only, at most {MAX_DIGITS}, such as 1000001: got {text[:40]!r}"
        )
        raise InvalidInputError(msg)
    return text


def word(value: object, name: str, example: str) -> str:
    """Return one of HTX's words, written as *example* is: to HTX, `usd` is not `USD`."""
    form, case = (_UPPER, "upper") if example.isupper() else (_LOWER, "lower")
    if isinstance(value, str) and re.fullmatch(form, value):
        return str(value)
    shown = repr(value[:40]) if isinstance(value, str) else type(value).__name__
    msg = f"{name} must be a word in {case} case, such as {example}: got {shown}"
    raise InvalidInputError(msg)


def _digits(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # the question is whether it can
    except TypeError:
        return None
    # `str` refuses very long numbers; so does the check of the digits.
    return str(number) if abs(number) < 10**MAX_DIGITS else "too long"


def seconds(value: object, name: str) -> float:
    """Return a positive, finite number of seconds."""
    if not _is_number(value) or not value > 0:
        msg = f"{name} must be a positive number of seconds: got {_shown(value)}"
        raise InvalidInputError(msg)
    return value


def at_least(value: object, least: int, name: str) -> int:
    """Return a whole number that is *least* or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name} must be a whole number, {least} or more: got {_shown(value)}"
        raise InvalidInputError(msg)
    return value


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max  # no NaN either


def _shown(value: object) -> str:
    # `repr` refuses very long numbers.
    too_long = isinstance(value, int) and abs(value) >= 10**MAX_DIGITS
    return "a number of many digits" if too_long else f"{value!r:.40}"


def fault_in_key(key: object, name: str) -> str | None:
    """Return what is wrong with a key, never the key; `None` if it can be one."""
    if not isinstance(key, str):
        return f"{name} must be text, not {type(key).__name__}"
    if not key:
        return f"{name} is empty: is the variable that it should come from set?"
    if key != key.strip():
        return f"{name} begins or ends with a blank or line break: was a newline pasted with it?"
    if not key.isascii() or not key.isprintable() or " " in key:
        return (
            f"{name} has a blank, a line break or a character that no key has: was it pasted whole?"
        )
    return None


class Origin(msgspec.Struct, frozen=True):
    """Where requests go: scheme, host (lower case) and port."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine itself."""
        return _is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == _DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{host}" if default else f"{self.scheme}://{host}:{self.port}"


def origin(base_url: object) -> Origin:
    """Return the origin that *base_url* names. Plain http is for loopback only."""
    fault, parsed = _origin(base_url)
    if parsed is None:
        msg = f"base_url {fault}, for example https://api.huobi.pro"
        raise InvalidInputError(msg)
    return parsed


def _origin(base_url: object) -> tuple[str, Origin | None]:  # noqa: PLR0911 - one line, one fault
    if not isinstance(base_url, str) or not base_url.isascii() or not base_url.isprintable():
        return "must be ASCII text without blanks", None
    from urllib.parse import urlsplit  # noqa: PLC0415 - once for each client

    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return "is not a URL", None
    if parts.scheme not in _DEFAULT_PORTS or not _is_host(parts.hostname) or port == 0:
        return "must start with https:// and name a host", None
    if parts.username is not None or parts.password is not None:
        return "must not carry a user or password", None
    if parts.path not in ("", "/") or parts.query or parts.fragment or base_url[-1] in "?#":
        return "must not carry a path, query or fragment", None
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        return "must be https: plain http is for loopback only, it would show keys to others", None
    return "", Origin(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme])


def _is_host(host: str | None) -> TypeGuard[str]:
    return host is not None and (":" in host or re.fullmatch(_HOST, host) is not None)


def _is_loopback(host: str) -> bool:
    import ipaddress  # noqa: PLC0415 - once for each client

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
