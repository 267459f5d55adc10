"""
Authentication and authorization of requests.

Written from HTX's description and not from the client's code, so that the two can disagree.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

import attrs

from htx_async.sandbox import errors
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.records import APIKey
from htx_async.sandbox.request import ParsedRequest

MAX_SKEW = 300
"""Seconds that a timestamp may be off, either way. HTX's pages state 5 minutes, and 1 minute."""


@attrs.frozen
class SignatureScheme:
    """Names of the parameters of a signed request, and the *version* of the signature."""

    access_key: str
    method: str
    version: str
    version_number: str
    timestamp: str
    signature: str
    unsigned: tuple[str, ...] = ()


REST = SignatureScheme(
    "AccessKeyId", "SignatureMethod", "SignatureVersion", "2", "Timestamp", "Signature"
)
STREAM = SignatureScheme(
    "accessKey",
    "signatureMethod",
    "signatureVersion",
    "2.1",
    "timestamp",
    "signature",
    unsigned=("authType",),
)

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)


def parse_query(query: bytes) -> dict[str, str]:
    """
    Return the decoded parameters of *query*; `APIError` if one occurs twice or is not UTF-8.

    A `+` is a space, as in forms: HTX's own SDK sends it, and HTX accepts it.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise APIError(errors.WRONG_SIGNATURE) from None
    params = dict(pairs)
    if len(params) != len(pairs):
        raise APIError(errors.WRONG_SIGNATURE)
    return params


def authenticate(
    request: ParsedRequest,
    params: Mapping[str, str],
    keys: Mapping[str, APIKey],
    now: float,
    scheme: SignatureScheme = REST,
) -> APIKey:
    """
    Return the key that signed the request.

    *params*: the decoded query, or those of a stream. *now*: seconds since 1970-01-01 UTC.
    `APIError` if the key is unknown, the signature is wrong or the timestamp is too old or too new.
    """
    if not (params.get(scheme.access_key) and params.get(scheme.signature)):
        raise APIError(errors.LOGIN_REQUIRED)
    key = keys.get(params[scheme.access_key])
    if key is None:
        raise APIError(errors.WRONG_ACCESS_KEY)
    # Whether HTX checks the time or the signature first is not known.
    if not _is_timely(params.get(scheme.timestamp, ""), now):
        raise APIError(errors.WRONG_TIME)
    if not _is_genuine(request, params, key, scheme):
        raise APIError(errors.WRONG_SIGNATURE)
    return key


def authorize(key: APIKey, ip: str, permission: str) -> None:
    """Raise `APIError` if *key* is expired, bound to other addresses, or lacks *permission*."""
    if key.expired:
        raise APIError(errors.KEY_EXPIRED)
    if key.ip_addresses and ip not in key.ip_addresses:
        raise APIError(errors.wrong_ip(ip))
    if permission not in key.permissions:
        raise APIError(errors.NO_PERMISSION)


def is_signed(request: ParsedRequest) -> bool:
    """Return whether the request claims to be signed."""
    return b"Signature=" in request.query or b"AccessKeyId=" in request.query


def signed_text(
    request: ParsedRequest, params: Mapping[str, str], scheme: SignatureScheme = REST
) -> str:
    """Return the text that a signature covers: all parameters but the signature, sorted."""
    unsigned = {scheme.signature, *scheme.unsigned}
    query = "&".join(
        f"{quote(name, safe='')}={quote(params[name], safe='')}"
        for name in sorted(params)
        if name not in unsigned
    )
    return f"{request.method}\n{request.host}\n{request.path}\n{query}"


def _is_genuine(
    request: ParsedRequest, params: Mapping[str, str], key: APIKey, scheme: SignatureScheme
) -> bool:
    verify = _METHODS.get(params.get(scheme.method, ""))
    if verify is None or params.get(scheme.version) != scheme.version_number:
        return False
    # ccxt signs host and port. HTX has the default port, so there it makes no difference.
    with_port = attrs.evolve(request, host=request.authority)
    signature = params[scheme.signature].encode()
    texts = (signed_text(variant, params, scheme).encode() for variant in (request, with_port))
    return any(verify(key, text, signature) for text in texts)


def _verify_hmac_sha256(key: APIKey, text: bytes, signature: bytes) -> bool:
    digest = hmac.digest(key.secret_key.encode(), text, "sha256")
    return hmac.compare_digest(base64.b64encode(digest), signature)


# By the value of the parameter `SignatureMethod`.
_METHODS: Mapping[str, Callable[[APIKey, bytes, bytes], bool]] = {"HmacSHA256": _verify_hmac_sha256}


def _is_timely(timestamp: str, now: float) -> bool:
    if not _TIMESTAMP.fullmatch(timestamp):
        return False
    try:
        at = datetime.fromisoformat(timestamp).replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(now - at.timestamp()) <= MAX_SKEW
