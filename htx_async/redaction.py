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
_LABELLED = (
    r"(?i)((?:token|secret|passw(?:or)?d|pwd|key|bearer|basic|authorization|credentials?)[\"']?"
    r"(?:\s*[:=]\s*(?:bearer\s+|basic\s+)?|\s+(?=\S*[0-9]))[\"']?)[^\s\"'&,;]+"
)
"""A name that is common for secrets, and a value; after a blank, only one with a digit."""
_OPAQUE = r"(?<![\w+/=-])(?=[A-Za-z_+/=-]*[0-9])[\w+/=-]{20,}"
"""A long word with a digit, such as a key or a token."""
_MARKUP = r"(?is)<(script|style|svg)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^>]*(?:>|\Z)"
"""Every alternative ends at the end of the text at the latest, so that each character is scanned
once."""
_VISIBLE, _MIN_LENGTH = 4, 16
_MAX_SECRET = 512
"""Characters of the longest secret in any encoding. A signature has at most 88, unencoded."""
_PAGE_LENGTH = 32 * 1024
"""Characters of a page that are searched for text: styles and scripts often come first."""


def mask_key(key: str) -> str:
    """Return an access key with all but four characters masked; a short one entirely."""
    return f"{key[:_VISIBLE]}…" if len(key) >= _MIN_LENGTH else "…"


def one_line(text: str, limit: int = EXCERPT_LENGTH) -> str:
    """Return the start of *text* on one line: white space folded, unprintable characters `?`."""
    text = " ".join(text[: 4 * limit].split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def excerpt(text: str, secrets: Iterable[str] = (), limit: int = EXCERPT_LENGTH) -> str:
    """
    Return the redacted start of *text* on one line, at most *limit* characters.

    The text is cut before it is redacted: redacting 16 MB takes seconds. The cut may split a
    secret, which is not recognized then, so the last characters before the cut are dropped.
    """
    end = 4 * limit + _MAX_SECRET
    redacted = redact(text[:end], secrets)
    return one_line(redacted[:-_MAX_SECRET] if len(text) > end else redacted, limit)


def describe_error(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """
    Return the type and the redacted text of an exception of other code.

    It may contain secrets that are not known here. What looks like one is redacted, too.
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - `__str__` is other code as well
        text = ""
    text = redact_unknown(excerpt(text, secrets))
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__


def redact_unknown(text: str) -> str:
    """Return *text* without what looks like a secret."""
    for pattern, replacement in ((_LABELLED, rf"\1{REDACTED}"), (_OPAQUE, REDACTED)):
        text = re.sub(pattern, replacement, text)
    return text


def text_of_page(page: str) -> str:
    """Return the text of an HTML page, without its markup."""
    import html  # noqa: PLC0415 - slow import, and only for pages that are not HTX's

    return html.unescape(re.sub(_MARKUP, " ", page[:_PAGE_LENGTH]))


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
