"""Who may use a key, from where and for what."""

from __future__ import annotations

from htx_async.sandbox import errors
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.records import APIKey


def authorize(key: APIKey, ip: str, permission: str) -> None:
    """Refuse *key* if it is expired, bound to other addresses than *ip*, or not allowed to."""
    if key.expired:
        raise APIError(errors.EXPIRED)
    if key.ip_addresses and ip not in key.ip_addresses:
        raise APIError(errors.wrong_ip(ip))
    if permission not in key.permissions:
        raise APIError(errors.NO_PERMISSION)
