"""Keeps secrets out of text, and text of unknown origin on one short line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qs

REDACTED = "[hidden]"
EXCERPT_LENGTH = 200
"""Characters that are kept of a body that cannot be decoded."""

_AUTH_PARAMETER = r"(?i)(AccessKeyId|Signature)(\"?\s*(?:[=:]|%(?:25)*3D)\s*\"?)[^\s&\"'<>]+"
_USER_INFO = r"//[^/@\s]*@"
_VISIBLE, _MIN_LENGTH = 4, 16


def mask_key(key: str) -> str:
    """Return an access key with all but four characters masked; a short one entirely."""
    return f"{key[:_VISIBLE]}…" if len(key) >= _MIN_LENGTH else "…"


def one_line(text: str, limit: int = EXCERPT_LENGTH) -> str:
    """Return the start of *text* on one line: white space folded, unprintable characters `?`."""
    text = " ".join(text[: 4 * limit].split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return *text* without *secrets* in any encoding, auth parameters and passwords in URLs."""
    for secret in filter(None, secrets):
        text = re.sub("".join(map(_encoded_pattern, secret)), REDACTED, text)
    text = re.sub(_USER_INFO, f"//{REDACTED}@", text)
    return re.sub(_AUTH_PARAMETER, rf"\1\2{REDACTED}", text)


def auth_values(query: str) -> tuple[str, ...]:
    """Return the values in a signed *query* that must not be shown."""
    params = parse_qs(query)
    return (*params.get("AccessKeyId", ()), *params.get("Signature", ()))


def _encoded_pattern(char: str) -> str:
    """Return a pattern of *char* as is, or escaped as in URLs (also nested), JSON or HTML."""
    if char.isalnum():
        return char
    code = f"{ord(char):x}"
    return rf"(?:\\?{re.escape(char)}|(?i:%(?:25)*{code}|\\u00{code}|&\#x{code};)|&\#{ord(char)};)"
