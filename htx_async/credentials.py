"""Keys: what they sign with, where they come from, and that nobody sees them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from typing import NoReturn, Self, final

from htx_async.errors import InvalidInputError
from htx_async.inputs import fault_in_key
from htx_async.redaction import masked


@final
class Credentials:
    """
    An access key and what signs for it (HMAC-SHA256). Frozen, and silent about its content.

    Args:
        access_key: As HTX shows it in "API management".
        secret_key: Shown by HTX once, when the key is made.

    Raises:
        InvalidInputError: A key is empty, or has blanks or line breaks in it.
    """

    # No attrs class: `attrs.asdict` and `vars` would hand the secret out.
    __slots__ = ("_access_key", "_secret", "method")

    _access_key: str
    _secret: bytes
    method: str
    """What HTX calls `SignatureMethod`."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        fault = fault_in_key(access_key, "access_key") or fault_in_key(secret_key, "secret_key")
        if fault:
            # A traceback printed with locals must not show them, nor ask what is half made.
            del self, access_key, secret_key
            raise InvalidInputError(fault)
        _set(self, "_access_key", access_key)
        _set(self, "_secret", secret_key.encode())
        _set(self, "method", "HmacSHA256")

    @classmethod
    def from_env(cls) -> Self:
        """
        Read `HTX_ACCESS_KEY` and `HTX_SECRET_KEY`.

        Raises:
            InvalidInputError: One of them is not set, or cannot be a key.
        """
        missing = [name for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY") if name not in os.environ]
        if missing:
            msg = f"no keys: set {' and '.join(missing)} in the environment"
            raise InvalidInputError(msg)
        return cls(os.environ["HTX_ACCESS_KEY"], os.environ["HTX_SECRET_KEY"])

    def signature(self, text: str) -> str:
        """Return the signature of *text*, in base64."""
        return base64.b64encode(hmac.digest(self._secret, text.encode(), "sha256")).decode()

    def fingerprint(self) -> str:
        """Return a name for the access key from which it cannot be read back."""
        return hashlib.sha256(b"htx_async:" + self._access_key.encode()).hexdigest()

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must not be shown."""
        return (self._access_key, self._secret.decode())

    def parameters(self, timestamp: str) -> tuple[tuple[str, str], ...]:
        """Return the parameters that tell HTX who asks, and when."""
        return (
            ("AccessKeyId", self._access_key),
            ("SignatureMethod", self.method),
            ("SignatureVersion", "2"),
            ("Timestamp", timestamp),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Credentials):
            return NotImplemented
        same_key = hmac.compare_digest(self._access_key, other._access_key)
        return same_key and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash((self._access_key, self._secret))

    def __repr__(self) -> str:
        return f"Credentials({masked(self._access_key)!r}, method={self.method!r})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = "Credentials are frozen: make new ones"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        msg = "Credentials are not pickled: a pickle is a file that anybody can read"
        raise TypeError(msg)

    __getstate__ = __reduce__


_set = object.__setattr__
