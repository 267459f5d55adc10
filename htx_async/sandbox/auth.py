"""Verification of signatures, written from HTX's description and not from the client's code."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from htx_async.sandbox import errors
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.records import APIKey
from htx_async.sandbox.request import Asked

VALID_FOR = 300
"""How many seconds a timestamp may be off, either way. HTX's pages say 5 minutes, and 1 minute."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)


def parameters(query: bytes) -> dict[str, str]:
    """
    Return the parameters of *query*, decoded; one that is there twice or not UTF-8 is refused.

    A `+` is a space, as in forms: HTX's own SDK sends it so and is understood.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise APIError(errors.WRONG_SIGNATURE) from None
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise APIError(errors.WRONG_SIGNATURE)
    return decoded


def verify(
    asked: Asked, params: Mapping[str, str], keys: Mapping[str, APIKey], now: float
) -> APIKey:
    """
    Return the key that signed the request.

    *params*: the decoded query. *now*: seconds since 1970-01-01 UTC. `APIError` if nobody
    known signed, or not this, or not now.
    """
    if not (params.get("AccessKeyId") and params.get("Signature")):
        raise APIError(errors.LOGIN_REQUIRED)
    key = keys.get(params["AccessKeyId"])
    if key is None:
        raise APIError(errors.WRONG_ACCESS_KEY)
    # In which order HTX looks at time and signature is not known.
    if not _is_timely(params.get("Timestamp", ""), now):
        raise APIError(errors.WRONG_TIME)
    if not _is_genuine(asked, params, key):
        raise APIError(errors.WRONG_SIGNATURE)
    return key


def signed_text(asked: Asked, params: Mapping[str, str]) -> str:
    """Return the text that a signature covers: all parameters but the signature, in order."""
    query = "&".join(
        f"{quote(name, safe='')}={quote(params[name], safe='')}"
        for name in sorted(params)
        if name != "Signature"
    )
    return f"{asked.method}\n{asked.host}\n{asked.path}\n{query}"


def _is_genuine(asked: Asked, params: Mapping[str, str], key: APIKey) -> bool:
    matches = _METHODS.get(params.get("SignatureMethod", ""))
    if matches is None or params.get("SignatureVersion") != "2":
        return False
    return matches(key, signed_text(asked, params).encode(), params["Signature"].encode())


def _hmac_sha256(key: APIKey, text: bytes, signature: bytes) -> bool:
    digest = hmac.digest(key.secret_key.encode(), text, "sha256")
    return hmac.compare_digest(base64.b64encode(digest), signature)


# By the names that HTX gives them; a further method finds its place here.
_METHODS: Mapping[str, Callable[[APIKey, bytes, bytes], bool]] = {"HmacSHA256": _hmac_sha256}


def _is_timely(timestamp: str, now: float) -> bool:
    if not _TIMESTAMP.fullmatch(timestamp):
        return False
    try:
        at = datetime.fromisoformat(timestamp).replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(now - at.timestamp()) <= VALID_FOR
