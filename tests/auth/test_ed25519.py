"""Ed25519 keys: a published vector, key files, and what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from htx_async import Credentials, HTXClient, InvalidInputError
from htx_async.middleware.signing import sign_request
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request

SEED = bytes.fromhex("9c96a75d107b58889282be9e43380d6908e9fb10a489e2e3d1143637101979fa")
# Go SDK of HTX, signerED25519_test.go: the text that was signed, and its signature.
TEXT = "GET\napi.huobi.pro\n/v1/account/history\naccount-id=1&currency=btcusdt"
SIGNATURE = (
    "KnEhhsa511CrWu++7BMSdVrLtFhvxARINGsGpq8S699qMgghekPwW90RV14A4sniE3RS1J/v0hAo70iA9Ln4Aw=="
)


def pem_of(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: str = "") -> str:
    """Return a private key as PKCS#8 in PEM."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


PEM = pem_of(ed25519.Ed25519PrivateKey.from_private_bytes(SEED))


@pytest.mark.parametrize("pem", [PEM, PEM.encode(), PEM.strip()])
def test_the_published_vector(pem: str | bytes) -> None:
    """The same signature, whether the PEM is text or bytes, with or without its last newline."""
    assert Credentials.ed25519("access-key", pem).signature(TEXT) == SIGNATURE


def test_the_method_is_named_in_what_is_signed() -> None:
    """HTX learns from the query which kind of signature it is."""
    request = Request(Endpoint("/v1/x", RateLimit(1, 1.0), int), "/v1/x")
    signed = sign_request(request, Credentials.ed25519("access-key", PEM), "api.huobi.pro", 0.0)
    assert "&SignatureMethod=Ed25519&" in signed.query


def test_keys_of_two_kinds_are_not_equal() -> None:
    """And the key shows neither in the repr nor in a pickle."""
    one, same = Credentials.ed25519("access-key", PEM), Credentials.ed25519("access-key", PEM)
    assert one == same
    assert hash(one) == hash(same)
    assert one != Credentials("access-key", "secret-key")
    assert "Ed25519" in repr(one)
    assert "PRIVATE" not in repr(one)


@pytest.mark.parametrize(
    ("pem", "text"),
    [
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "not an Ed25519 key"),
        (pem_of(ed25519.Ed25519PrivateKey.generate(), "password"), "encrypted"),
        ("MC4CAQAwBQYDK2VwBCIEIA==", "not an unencrypted PKCS#8"),
        (7, "must be str or bytes, got int"),
    ],
)
def test_what_is_no_such_key(pem: str, text: str) -> None:
    """One sentence, which names the fault."""
    with pytest.raises(InvalidInputError, match=text):
        Credentials.ed25519("access-key", pem)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
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
def test_keys_from_files(end: str, no_keys: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As containers mount them; one newline at the end is dropped."""
    for name, text in (("HTX_ACCESS_KEY", "access-key"), ("HTX_SECRET_KEY", "secret-key")):
        (tmp_path / name).write_bytes((text + end).encode())
        no_keys.setenv(f"{name}_FILE", str(tmp_path / name))
    assert Credentials.from_env() == Credentials("access-key", "secret-key")


def test_only_one_newline_is_dropped(no_keys: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second one is a fault that wants to be known."""
    (tmp_path / "key").write_text("access-key\n\n")
    no_keys.setenv("HTX_ACCESS_KEY_FILE", str(tmp_path / "key"))
    no_keys.setenv("HTX_SECRET_KEY", "secret-key")
    with pytest.raises(InvalidInputError, match="newline"):
        Credentials.from_env()


def test_an_ed25519_key_from_the_environment(no_keys: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As text or as a file."""
    no_keys.setenv("HTX_ACCESS_KEY", "access-key")
    no_keys.setenv("HTX_PRIVATE_KEY", PEM)
    assert Credentials.from_env() == Credentials.ed25519("access-key", PEM)
    no_keys.delenv("HTX_PRIVATE_KEY")
    (tmp_path / "key.pem").write_text(PEM)
    no_keys.setenv("HTX_PRIVATE_KEY_FILE", str(tmp_path / "key.pem"))
    assert "Ed25519" in repr(HTXClient.from_env())


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"HTX_SECRET_KEY": "s", "HTX_PRIVATE_KEY": "p"}, "HTX_SECRET_KEY and HTX_PRIVATE_KEY"),
        ({"HTX_SECRET_KEY": "s", "HTX_SECRET_KEY_FILE": "f"}, "both set"),
        ({"HTX_SECRET_KEY_FILE": "/nowhere"}, r"cannot be read \(FileNotFoundError\)"),
        ({}, "set HTX_SECRET_KEY in"),
    ],
)
def test_an_environment_that_is_not_clear(
    variables: dict[str, str], text: str, no_keys: pytest.MonkeyPatch
) -> None:
    """Two settings for one thing are a question, not a guess."""
    no_keys.setenv("HTX_ACCESS_KEY", "access-key")
    for name, value in variables.items():
        no_keys.setenv(name, value)
    with pytest.raises(InvalidInputError, match=text):
        Credentials.from_env()
