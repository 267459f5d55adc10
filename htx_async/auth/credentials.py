"""An access key with what signs for it: an HMAC-SHA256 secret, or an Ed25519 private key."""

from __future__ import annotations

import base64
import hmac
import re
from hashlib import sha256
from typing import TYPE_CHECKING, NoReturn, Self, final
from urllib.parse import quote

from htx_async.auth import environment
from htx_async.errors import InvalidInputError
from htx_async.redaction import mask_key
from htx_async.validation import key_problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@final
class Credentials:
    """
    An access key and its secret. Frozen; it never shows or pickles the secret.

    The constructor takes an HMAC-SHA256 secret; `ed25519` takes an Ed25519 private key.

    Args:
        access_key: The access key that HTX shows in "API management".
        secret_key: The secret key, which HTX shows once, when the key is created.

    Raises:
        InvalidInputError: A key is empty, or contains white space.
    """

    # Not an attrs class: `attrs.asdict` and `vars` would return the secret.
    __slots__ = ("_access_key", "_hmac", "_private", "_query", "_secret", "signature_method")

    _access_key: str
    _secret: bytes
    _hmac: hmac.HMAC
    _private: Ed25519PrivateKey | None
    _query: str
    signature_method: str
    """HTX's `SignatureMethod`."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        problem = key_problem(access_key, "access_key") or key_problem(secret_key, "secret_key")
        if problem:
            # A traceback with locals must not show them, or call the repr of a half-built object.
            del self, access_key, secret_key
            raise InvalidInputError(problem)
        self._init(access_key, secret_key.encode(), None)

    @classmethod
    def ed25519(cls, access_key: str, private_key_pem: str | bytes) -> Self:
        """
        Create credentials that sign with Ed25519.

        Args:
            access_key: The access key that HTX shows in "API management".
            private_key_pem: The private key of the public key that HTX has: PKCS#8 in PEM, not
                encrypted.

        Raises:
            InvalidInputError: It is not such a key, or the extra `ed25519` is not installed.
        """
        parsed = _parse_private_key(private_key_pem, "private_key_pem")
        problem, private, raw = parsed
        problem = key_problem(access_key, "access_key") or problem
        if problem:
            del access_key, private_key_pem, private, raw, parsed
            raise InvalidInputError(problem)
        credentials = cls.__new__(cls)
        credentials._init(access_key, raw, private)  # noqa: SLF001 - its own class
        return credentials

    @classmethod
    def from_env(cls) -> Self:
        """
        Read `HTX_ACCESS_KEY`, and `HTX_SECRET_KEY` or `HTX_PRIVATE_KEY` (a PEM, for Ed25519).

        Each may be in a file instead: `HTX_ACCESS_KEY_FILE` and so on contain its path. One
        newline at the end of a file is dropped.

        Raises:
            InvalidInputError: A key is missing, given twice, or not valid.
        """
        problem, access_key, secret_key, private_key = environment.read_keys()
        names = [environment.source_of(name) for name in environment.NAMES]
        problem = problem or key_problem(access_key, names[0]) or ""
        private, raw = None, (secret_key or "").encode(errors="replace")
        if not problem and private_key is None:
            problem = key_problem(secret_key, names[1]) or ""
        elif not problem:
            problem, private, raw = _parse_private_key(private_key, names[2])
        if problem:
            # Raised after they are deleted: this frame is in the traceback, too.
            del access_key, secret_key, private_key, private, raw
            raise InvalidInputError(problem)
        credentials = cls.__new__(cls)
        credentials._init(access_key or "", raw, private)  # noqa: SLF001 - its own class
        return credentials

    def _init(self, access_key: str, secret: bytes, private: Ed25519PrivateKey | None) -> None:
        _set(self, "_access_key", access_key)
        _set(self, "_secret", secret)
        _set(self, "_hmac", hmac.new(secret, digestmod="sha256"))  # `hmac.digest` sets it up again
        _set(self, "_private", private)
        _set(self, "signature_method", "HmacSHA256" if private is None else "Ed25519")
        params = (f"{name}={quote(value, safe='')}" for name, value in self.auth_params())
        _set(self, "_query", "&".join(params))

    def signature(self, text: str) -> str:
        """Return the signature of *text* in base64."""
        if self._private is not None:
            return base64.b64encode(self._private.sign(text.encode())).decode()
        hmac_of_text = self._hmac.copy()
        hmac_of_text.update(text.encode())
        return base64.b64encode(hmac_of_text.digest()).decode()

    def fingerprint(self) -> str:
        """Return an identifier of the access key from which the key cannot be computed."""
        return sha256(b"htx_async:" + self._access_key.encode()).hexdigest()

    def auth_params(self) -> tuple[tuple[str, str], ...]:
        """Return the authentication parameters besides `Timestamp` and `Signature`."""
        return (
            ("AccessKeyId", self._access_key),
            ("SignatureMethod", self.signature_method),
            ("SignatureVersion", "2"),
        )

    def auth_query(self) -> str:
        """Return `auth_params` as they are sent."""
        return self._query

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Credentials):
            return NotImplemented
        if self.auth_params() != other.auth_params():
            return False
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash((self.auth_params(), self._secret))

    def __repr__(self) -> str:
        return f"Credentials({mask_key(self._access_key)!r}, method={self.signature_method!r})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = "Credentials are frozen: create new ones"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        msg = "Credentials cannot be pickled: the file would contain the keys in plain text"
        raise TypeError(msg)

    def __getstate__(self) -> NoReturn:
        self.__reduce__()


_set = object.__setattr__


def secrets_of(credentials: Credentials) -> tuple[str, ...]:
    """Return the texts that must not be shown: the access key, and the secret if it is text."""
    secret = credentials._secret  # noqa: SLF001 - ours  # pyright: ignore[reportPrivateUsage]
    return credentials.auth_params()[0][1], secret.decode("latin-1")


_PRIVATE_KEY_PROBLEMS = (
    (r"\s*\Z", "is empty. Check that the variable it comes from is set."),
    (r"\s*([\"'`]).*\1\s*\Z", "is in quotes. Remove them."),
    (
        r"0[\x00-\xff]|.*\x00",
        "is in DER format. Convert it to PEM: openssl pkey -inform DER -in key.der",
    ),
    (
        r".*-----BEGIN OPENSSH",
        "is in OpenSSH format. Create a key in PEM: openssl genpkey -algorithm ed25519",
    ),
    (
        r".*(-----BEGIN ENCRYPTED|Proc-Type: 4,ENCRYPTED)",
        "is encrypted. Decrypt it: openssl pkey -in key.pem",
    ),
    (
        r".*-----BEGIN [A-Z ]*(PUBLIC KEY|CERTIFICATE)",
        "is a public key. Pass the private key that belongs to it.",
    ),
    (
        r"(?!.*-----BEGIN)([~.]{0,2}[/\\]|[A-Za-z]:[/\\]|[^\n]*\.(pem|key|der)\s*\Z)",
        "is a path. Pass the contents of the file, or set HTX_PRIVATE_KEY_FILE to the path.",
    ),
    (
        r"(?!.*-----BEGIN)",
        "is not an unencrypted PKCS#8 private key in PEM: it has no -----BEGIN PRIVATE KEY-----.",
    ),
)
"""What a text that is not a private key in PEM is, in the order in which they are tested."""


def _parse_private_key(pem: object, name: str) -> tuple[str, Ed25519PrivateKey | None, bytes]:
    """Return what is wrong with a private key (`""`: nothing), the key, and its bytes."""
    if not isinstance(pem, str | bytes):
        return f"{name} must be str or bytes, got {type(pem).__qualname__}", None, b""
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ImportError:
        extra = 'pip install "htx-async[ed25519]"'
        return f"Ed25519 keys need the package cryptography: {extra}", None, b""
    # One character for each byte: a text that cannot be encoded must not be in an exception.
    text = pem if isinstance(pem, str) else pem.decode("latin-1")
    for pattern, problem in _PRIVATE_KEY_PROBLEMS:
        if re.match(pattern, text, re.DOTALL):
            return f"{name} {problem}", None, b""
    if not text.isascii():
        problem = "contains a character that is not ASCII. Check that it was copied completely."
        return f"{name} {problem}", None, b""
    # Variables in env files and YAML often have line breaks as `\n`.
    text = text.replace("\\r", "").replace("\\n", "\n")
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except Exception:  # noqa: BLE001 - its message may contain a part of the key
        problem = "is not an unencrypted PKCS#8 private key in PEM. Check that it was copied whole."
        return f"{name} {problem}", None, b""
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        return f"{name} is a private key, but not an Ed25519 key", None, b""
    return "", key, key.private_bytes_raw()
