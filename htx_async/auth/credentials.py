"""Keys: what they sign with, where they come from, and that nobody sees them."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, NoReturn, Self, final

from htx_async.errors import InvalidInputError
from htx_async.redaction import masked
from htx_async.validation import fault_in_key

if TYPE_CHECKING:
    import hmac

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@final
class Credentials:
    """
    An access key and what signs for it. Frozen, and silent about its content.

    Made as it stands it signs with HMAC-SHA256; `ed25519` makes one that signs with Ed25519.

    Args:
        access_key: As HTX shows it in "API management".
        secret_key: Shown by HTX once, when the key is made.

    Raises:
        InvalidInputError: A key is empty, or has blanks or line breaks in it.
    """

    # No attrs class: `attrs.asdict` and `vars` would hand the secret out.
    __slots__ = ("_access_key", "_hmac", "_private", "_query", "_secret", "method")

    _access_key: str
    _secret: bytes
    _hmac: hmac.HMAC
    _private: Ed25519PrivateKey | None
    _query: str
    method: str
    """What HTX calls `SignatureMethod`."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        fault = fault_in_key(access_key, "access_key") or fault_in_key(secret_key, "secret_key")
        if fault:
            # A traceback printed with locals must not show them, nor ask what is half made.
            del self, access_key, secret_key
            raise InvalidInputError(fault)
        self._keep(access_key, secret_key.encode(), None)

    @classmethod
    def ed25519(cls, access_key: str, private_key_pem: str | bytes) -> Self:
        """
        Make credentials that sign with Ed25519.

        Args:
            access_key: As HTX shows it in "API management".
            private_key_pem: The private key whose public key HTX has: PKCS#8, PEM, not encrypted.

        Raises:
            InvalidInputError: It is no such key, or the extra `ed25519` is not installed.
        """
        fault = fault_in_key(access_key, "access_key")
        made = (fault, None, b"") if fault else _private_key(private_key_pem)
        fault, private, raw = made
        if fault:
            del access_key, private_key_pem, private, raw, made
            raise InvalidInputError(fault)
        self = cls.__new__(cls)
        self._keep(access_key, raw, private)
        return self

    def _keep(self, access_key: str, secret: bytes, private: Ed25519PrivateKey | None) -> None:
        import hmac  # noqa: PLC0415 - once for each key
        from urllib.parse import quote  # noqa: PLC0415 - the same

        _set(self, "_access_key", access_key)
        _set(self, "_secret", secret)
        _set(self, "_hmac", hmac.new(secret, digestmod="sha256"))  # `hmac.digest` begins anew
        _set(self, "_private", private)
        _set(self, "method", "HmacSHA256" if private is None else "Ed25519")
        told = (f"{name}={quote(value, safe='')}" for name, value in self.parameters())
        _set(self, "_query", "&".join(told))

    @classmethod
    def from_env(cls) -> Self:
        """
        Read `HTX_ACCESS_KEY`, and `HTX_SECRET_KEY` or `HTX_PRIVATE_KEY` (a PEM, for Ed25519).

        Each may be in a file instead, that `HTX_ACCESS_KEY_FILE` and so on name; one newline at
        its end is dropped.

        Raises:
            InvalidInputError: A key is missing, given twice, or cannot be one.
        """
        fault, access_key, secret_key, private_key = _environment()
        if not fault:
            try:
                if private_key is not None:
                    return cls.ed25519(access_key or "", private_key)
                return cls(access_key or "", secret_key or "")
            except InvalidInputError as error:
                fault = str(error)
        # Raised out here, once they are gone: this frame is in the traceback too.
        del access_key, secret_key, private_key
        raise InvalidInputError(fault)

    def signature(self, text: str) -> str:
        """Return the signature of *text*, in base64."""
        if self._private is not None:
            return base64.b64encode(self._private.sign(text.encode())).decode()
        hmac_of_text = self._hmac.copy()
        hmac_of_text.update(text.encode())
        return base64.b64encode(hmac_of_text.digest()).decode()

    def fingerprint(self) -> str:
        """Return a name for the access key from which it cannot be read back."""
        from hashlib import sha256  # noqa: PLC0415 - once for each client

        return sha256(b"htx_async:" + self._access_key.encode()).hexdigest()

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """What tells HTX who asks, besides the time."""
        return (
            ("AccessKeyId", self._access_key),
            ("SignatureMethod", self.method),
            ("SignatureVersion", "2"),
        )

    def query(self) -> str:
        """Return the same, as it is sent."""
        return self._query

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Credentials):
            return NotImplemented
        if (self._access_key, self.method) != (other._access_key, other.method):
            return False
        import hmac  # noqa: PLC0415 - once for new keys

        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash((self._access_key, self.method, self._secret))

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

    def __getstate__(self) -> NoReturn:
        self.__reduce__()


_set = object.__setattr__
_NAMES = ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_PRIVATE_KEY")


def _environment() -> tuple[str, str | None, str | None, str | None]:
    """Return what is wrong with the environment, and the keys that it holds."""
    read = [_variable(name) for name in _NAMES]
    keys = tuple(value for _, value in read)
    fault = next((fault for fault, _ in read if fault), "")
    access_key, secret_key, private_key = keys
    if not fault and secret_key is not None and private_key is not None:
        fault = "HTX_SECRET_KEY and HTX_PRIVATE_KEY are both set: which of them is meant?"
    if not fault and (access_key is None or secret_key is private_key):
        missing = [_NAMES[0]] if access_key is None else []
        missing += [_NAMES[1]] if secret_key is private_key else []
        fault = f"no keys: set {' and '.join(missing)} in the environment"
    return fault, access_key, secret_key, private_key


def _variable(name: str) -> tuple[str, str | None]:
    """Return what is wrong with a variable or its file, and its value; `None`: it is not set."""
    path = os.environ.get(f"{name}_FILE")
    if path is None:
        return "", os.environ.get(name)
    if name in os.environ:
        return f"{name} and {name}_FILE are both set: which of them is meant?", None
    try:
        from pathlib import Path  # noqa: PLC0415 - only for keys in files

        return "", Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        return f"the file that {name}_FILE names cannot be read: {type(error).__name__}", None


def _private_key(pem: object) -> tuple[str, Ed25519PrivateKey | None, bytes]:
    """Return what is wrong with a private key, the key, and its bytes."""
    if not isinstance(pem, str | bytes):
        return f"private_key_pem must be text or bytes, not {type(pem).__name__}", None, b""
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ImportError:
        extra = 'pip install "htx-async[ed25519]"'
        return f"Ed25519 keys need the package cryptography: {extra}", None, b""
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except Exception:  # noqa: BLE001 - whatever it says may show a part of the key
        return "private_key_pem is no PKCS#8 private key in PEM, or it is encrypted", None, b""
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        return "private_key_pem is a private key, but not one for Ed25519", None, b""
    return "", key, key.private_bytes_raw()
