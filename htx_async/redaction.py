"""What may be shown of a text that came from outside, or of a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
HEAD = 200
"""Characters kept of a body that could not be read: enough to know a page by."""

_AUTH_PARAMETER = r"(?i)(AccessKeyId|Signature)(\"?\s*(?:[=:]|%(?:25)*3D)\s*\"?)[^\s&\"'<>]+"
_SHOWN, _LONG_ENOUGH = 4, 16
_USER_INFO = r"//[^/@\s]*@"


def masked(key: str) -> str:
    """Return what may be shown of an access key: four characters, none of a short one."""
    return f"{key[:_SHOWN]}…" if len(key) >= _LONG_ENOUGH else "…"


def printable(text: str, limit: int = HEAD) -> str:
    """Return the head of *text* on one line: blanks folded, what cannot be printed as `?`."""
    text = " ".join(text[: 4 * limit].split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return *text* without *secrets*, however encoded, auth parameters and passwords of URLs."""
    for secret in filter(None, secrets):
        text = re.sub("".join(map(_in_any_form, secret)), HIDDEN, text)
    text = re.sub(_USER_INFO, f"//{HIDDEN}@", text)
    return re.sub(_AUTH_PARAMETER, rf"\1\2{HIDDEN}", text)


def _in_any_form(char: str) -> str:
    """Return a pattern of *char* as it is, and as URLs (nested ones too), JSON or HTML have it."""
    if char.isalnum():
        return char
    code = f"{ord(char):x}"
    return rf"(?:\\?{re.escape(char)}|(?i:%(?:25)*{code}|\\u00{code}|&\#x{code};)|&\#{ord(char)};)"


def secrets_in(query: str) -> tuple[str, ...]:
    """Return what a signed *query* says that nobody else may see."""
    from urllib.parse import parse_qs  # noqa: PLC0415 - rarely wanted

    said = parse_qs(query)
    return (*said.get("AccessKeyId", ()), *said.get("Signature", ()))
