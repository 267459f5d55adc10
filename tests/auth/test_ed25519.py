"""Ed25519 keys: a published signature, key files, and invalid keys."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from htx_async import Credentials, HTXClient, InvalidInputError
from htx_async.middleware.signing import sign_request
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request
from tests.error_text import full_text

SEED = bytes.fromhex("9c96a75d107b58889282be9e43380d6908e9fb10a489e2e3d1143637101979fa")
# HTX's Go SDK, signerED25519_test.go: the signed text and its signature.
TEXT = "GET\napi.huobi.pro\n/v1/account/history\naccount-id=1&currency=btcusdt"
SIGNATURE = (
    "KnEhhsa511CrWu++7BMSdVrLtFhvxARINGsGpq8S699qMgghekPwW90RV14A4sniE3RS1J/v0hAo70iA9Ln4Aw=="
)


def pem_of(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: str = "") -> str:
    """Return a private key as PKCS#8 in PEM."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    private_format = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, private_format, encryption).decode()


PEM = pem_of(ed25519.Ed25519PrivateKey.from_private_bytes(SEED))


@pytest.mark.parametrize("pem", [PEM, PEM.encode(), PEM.strip()])
def test_ed25519_reproduces_the_published_signature(pem: str | bytes) -> None:
    """The PEM may be str or bytes, with or without its final newline."""
    assert Credentials.ed25519("access-key", pem).signature(TEXT) == SIGNATURE


def test_ed25519_is_named_in_the_signed_query() -> None:
    """HTX reads the signature method from the query."""
    request = Request(Endpoint("/v1/x", RateLimit(1, 1.0), int), "/v1/x")
    signed = sign_request(request, Credentials.ed25519("access-key", PEM), "api.huobi.pro", 0.0)
    assert "&SignatureMethod=Ed25519&" in signed.query


def test_ed25519_credentials_compare_by_key_and_hide_it() -> None:
    """Equal keys are equal, and the repr does not contain the private key."""
    one, same = Credentials.ed25519("access-key", PEM), Credentials.ed25519("access-key", PEM)
    assert one == same
    assert hash(one) == hash(same)
    assert one != Credentials("access-key", "secret-key")
    assert "Ed25519" in repr(one)
    assert "PRIVATE" not in repr(one)


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "not an Ed25519 key"),
        (pem_of(ed25519.Ed25519PrivateKey.generate(), "password"), "encrypted"),
        ("MC4CAQAwBQYDK2VwBCIEIA==", "not an unencrypted PKCS#8"),
        (7, "must be str or bytes, got int"),
    ],
)
def test_ed25519_rejects_other_keys(pem: str, message: str) -> None:
    """The error states the reason."""
    with pytest.raises(InvalidInputError, match=message):
        Credentials.ed25519("access-key", pem)


KEY_LINE = PEM.splitlines()[1]


@pytest.mark.parametrize("char", ["é", "\udce9", "\u200b", "密"])
@pytest.mark.parametrize("from_environment", [False, True])
def test_ed25519_key_with_a_character_that_is_not_ascii_is_not_exposed(
    char: str, from_environment: bool, no_keys: pytest.MonkeyPatch
) -> None:
    """The error of the encoder, which contains the whole key, is not raised."""
    pem = PEM.replace("\n", f"{char}\n", 1)
    no_keys.setattr(os, "environ", {"HTX_ACCESS_KEY": "a", "HTX_PRIVATE_KEY": pem})
    create = functools.partial(Credentials.ed25519, "a", pem)
    with pytest.raises(InvalidInputError, match="not ASCII") as caught:
        (HTXClient.from_env if from_environment else create)()
    assert KEY_LINE not in full_text(caught.value)


def test_ed25519_key_as_bytes_that_are_not_ascii_is_not_exposed() -> None:
    """The same for the bytes of a file."""
    with pytest.raises(InvalidInputError, match="not ASCII") as caught:
        Credentials.ed25519("access-key", PEM.encode() + b"\xff")
    assert KEY_LINE not in full_text(caught.value)


def test_ed25519_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(InvalidInputError, match=r'pip install "htx-async\[ed25519\]"'):
        Credentials.ed25519("access-key", PEM)


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without keys."""
    for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_PRIVATE_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    return monkeypatch


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_from_env_reads_keys_from_files(
    start: str, end: str, no_keys: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a byte order mark and one trailing newline, which editors add."""
    for name, text in (("HTX_ACCESS_KEY", "access-key"), ("HTX_SECRET_KEY", "secret-key")):
        (tmp_path / name).write_bytes((start + text + end).encode())
        no_keys.setenv(f"{name}_FILE", str(tmp_path / name))
    assert Credentials.from_env() == Credentials("access-key", "secret-key")


def test_from_env_removes_only_one_newline(no_keys: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second trailing newline is an error."""
    (tmp_path / "key").write_text("access-key\n\n")
    no_keys.setenv("HTX_ACCESS_KEY_FILE", str(tmp_path / "key"))
    no_keys.setenv("HTX_SECRET_KEY", "secret-key")
    with pytest.raises(InvalidInputError, match="newline"):
        Credentials.from_env()


def test_from_env_reads_an_ed25519_key(no_keys: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The key is text or in a file."""
    no_keys.setenv("HTX_ACCESS_KEY", "access-key")
    no_keys.setenv("HTX_PRIVATE_KEY", PEM)
    assert Credentials.from_env() == Credentials.ed25519("access-key", PEM)
    no_keys.delenv("HTX_PRIVATE_KEY")
    (tmp_path / "key.pem").write_text(PEM)
    no_keys.setenv("HTX_PRIVATE_KEY_FILE", str(tmp_path / "key.pem"))
    assert "Ed25519" in repr(HTXClient.from_env())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HTX_SECRET_KEY": "s", "HTX_PRIVATE_KEY": "p"}, "HTX_SECRET_KEY and HTX_PRIVATE_KEY"),
        ({"HTX_SECRET_KEY": "s", "HTX_SECRET_KEY_FILE": "f"}, "both set"),
        ({"HTX_SECRET_KEY_FILE": "/nowhere"}, r"cannot be read \(FileNotFoundError\)"),
        ({}, "set HTX_SECRET_KEY in"),
    ],
)
def test_from_env_rejects_conflicting_or_incomplete_variables(
    variables: dict[str, str], message: str, no_keys: pytest.MonkeyPatch
) -> None:
    """Two variables for one value are an error."""
    no_keys.setenv("HTX_ACCESS_KEY", "access-key")
    for name, value in variables.items():
        no_keys.setenv(name, value)
    with pytest.raises(InvalidInputError, match=message):
        Credentials.from_env()


@pytest.mark.parametrize(
    "variables",
    [
        {"HTX_SECRET_KEY": "secret-key", "HTX_PRIVATE_KEY": ""},
        {"HTX_SECRET_KEY": "secret-key", "HTX_SECRET_KEY_FILE": "", "HTX_PRIVATE_KEY_FILE": ""},
        {"HTX_SECRET_KEY": "", "HTX_SECRET_KEY_FILE": "FILE"},
        {"HTX_SECRET_KEY_FILE": "FILE", "HTX_PRIVATE_KEY": "", "HTX_PRIVATE_KEY_FILE": ""},
    ],
)
def test_from_env_ignores_an_empty_variable_beside_another(
    variables: dict[str, str], no_keys: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Docker Compose passes variables that the host does not have as empty ones."""
    (tmp_path / "key").write_text("secret-key\n")
    no_keys.setenv("HTX_ACCESS_KEY", "access-key")
    for name, value in variables.items():
        no_keys.setenv(name, str(tmp_path / "key") if value == "FILE" else value)
    assert Credentials.from_env() == Credentials("access-key", "secret-key")


def test_from_env_reads_a_private_key_beside_an_empty_secret(no_keys: pytest.MonkeyPatch) -> None:
    no_keys.setenv("HTX_ACCESS_KEY", "access-key")
    no_keys.setenv("HTX_SECRET_KEY", "")
    no_keys.setenv("HTX_PRIVATE_KEY", PEM)
    assert Credentials.from_env() == Credentials.ed25519("access-key", PEM)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HTX_SECRET_KEY": ""}, r"^HTX_SECRET_KEY is empty\."),
        ({"HTX_PRIVATE_KEY": ""}, r"^HTX_PRIVATE_KEY is empty\."),
        ({"HTX_SECRET_KEY": "", "HTX_PRIVATE_KEY": ""}, r": set HTX_SECRET_KEY in"),
        ({"HTX_SECRET_KEY": "s", "HTX_ACCESS_KEY": ""}, r"^HTX_ACCESS_KEY is empty\."),
    ],
)
def test_from_env_names_an_empty_variable_that_is_needed(
    variables: dict[str, str], message: str, no_keys: pytest.MonkeyPatch
) -> None:
    for name, value in {"HTX_ACCESS_KEY": "access-key", **variables}.items():
        no_keys.setenv(name, value)
    with pytest.raises(InvalidInputError, match=message):
        Credentials.from_env()
