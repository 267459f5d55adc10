"""`Credentials`: validation, signing, environment variables, and secrets in no output."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from htx_async import Credentials, InvalidInputError
from htx_async.validation import is_quoted
from tests.error_text import full_text

ACCESS_KEY = "vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1"
SECRET_KEY = "b0c1d2e3-f4a5b6c7-d8e9f0a1-b2c3d"
CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY)


def test_repr_contains_four_characters_of_the_access_key() -> None:
    """No form of printing contains the secret key."""
    expected = "Credentials('vf25…', method='HmacSHA256')"
    assert repr(CREDENTIALS) == str(CREDENTIALS) == f"{CREDENTIALS}" == expected
    assert pretty_repr(CREDENTIALS) == pretty_repr([CREDENTIALS])[1:-1] == expected
    assert repr(Credentials("short", "secret")) == "Credentials('…', method='HmacSHA256')"


def test_attributes_expose_no_key() -> None:
    """There is no `__dict__`, and no public attribute contains a key."""
    with pytest.raises(TypeError):
        vars(CREDENTIALS)
    public = {name for name in dir(CREDENTIALS) if not name.startswith("_")}
    plain = {
        name: value for name in public if not inspect.ismethod(value := getattr(CREDENTIALS, name))
    }
    assert plain == {"signature_method": "HmacSHA256"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [CREDENTIALS, [CREDENTIALS], {"a": CREDENTIALS}])
def test_pickle_raises(protocol: int, value: Any) -> None:
    """Pickling a container of credentials raises too."""
    with pytest.raises(TypeError, match="Credentials cannot be pickled") as caught:
        pickle.dumps(value, protocol)
    assert SECRET_KEY not in full_text(caught.value)


def test_getstate_raises() -> None:
    """`pickle` and `copyreg` cannot read the state."""
    with pytest.raises(TypeError, match="Credentials cannot be pickled"):
        CREDENTIALS.__getstate__()


def test_copy_returns_the_same_object() -> None:
    """The keys are in memory only once."""
    assert copy.copy(CREDENTIALS) is CREDENTIALS
    assert copy.deepcopy([CREDENTIALS])[0] is CREDENTIALS


def test_credentials_are_frozen() -> None:
    """No attribute can be set, added or deleted."""
    for name in ("method", "_secret", "new"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(CREDENTIALS, name, "x")
    with pytest.raises(AttributeError, match="frozen"):
        del CREDENTIALS.signature_method
    assert CREDENTIALS.signature_method == "HmacSHA256"


def test_equality_compares_both_keys() -> None:
    same = Credentials(ACCESS_KEY, SECRET_KEY)
    assert same == CREDENTIALS
    assert hash(same) == hash(CREDENTIALS)
    assert Credentials(ACCESS_KEY, "other") != CREDENTIALS
    assert Credentials("other", SECRET_KEY) != CREDENTIALS
    assert CREDENTIALS != ACCESS_KEY
    assert len({same, CREDENTIALS}) == 1


def test_fingerprint_identifies_the_access_key() -> None:
    """It depends only on the access key, and the key cannot be derived from it."""
    assert CREDENTIALS.fingerprint() == Credentials(ACCESS_KEY, "other").fingerprint()
    assert CREDENTIALS.fingerprint() != Credentials("other", SECRET_KEY).fingerprint()
    assert ACCESS_KEY[:4] not in CREDENTIALS.fingerprint()


def test_signature_and_authentication_parameters() -> None:
    """The parameters are those HTX documents, and the signature is base64."""
    credentials = Credentials("access", "secret")
    assert credentials.auth_params() == (
        ("AccessKeyId", "access"),
        ("SignatureMethod", "HmacSHA256"),
        ("SignatureVersion", "2"),
    )
    query = "AccessKeyId=access&SignatureMethod=HmacSHA256&SignatureVersion=2"
    assert credentials.auth_query() == query
    # RFC 4231, test case 2
    assert Credentials("access", "Jefe").signature("what do ya want for nothing?") == (
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
    )


INVALID_KEYS: list[Any] = [
    "",
    " ",
    "with blank {}",
    "{}\n",
    "\r{}",
    "{}é",
    "{}\x00",
    b"{}",
    None,
    7,
]


@pytest.mark.parametrize("key", INVALID_KEYS, ids=repr)
@pytest.mark.parametrize("argument", ["access_key", "secret_key"])
def test_invalid_key_is_rejected_without_exposing_it(key: Any, argument: str) -> None:
    """Neither key is in the error, or in the frame locals of its traceback."""
    marker = "c0ffee-c0ffee"
    if isinstance(key, str):
        key = key.replace("{}", marker)
    elif isinstance(key, bytes):
        key = key.replace(b"{}", marker.encode())
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, argument: key}
    with pytest.raises(InvalidInputError, match=f"^{argument} ") as caught:
        Credentials(**keys)
    text = full_text(caught.value)
    assert caught.value.__context__ is None
    for secret in (marker, ACCESS_KEY, SECRET_KEY):
        assert secret not in text
        assert secret[:8] not in text


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60))
def test_any_printable_ascii_key_signs(key: str) -> None:
    assume(not is_quoted(key))
    assert len(Credentials(key, key).signature("x")) == 44


def test_from_env_reads_both_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are `HTX_ACCESS_KEY` and `HTX_SECRET_KEY`."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET_KEY)
    assert Credentials.from_env() == CREDENTIALS


@pytest.mark.parametrize("secret_key", ["", "c0ffee c0ffee", "c0ffee-c0ffee\n"])
def test_from_env_rejects_an_invalid_key_without_exposing_it(
    secret_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("HTX_SECRET_KEY", secret_key)
    with pytest.raises(InvalidInputError) as caught:
        Credentials.from_env()
    text = full_text(caught.value)
    assert ACCESS_KEY not in text
    assert "c0ffee" not in text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ((), "set HTX_ACCESS_KEY and HTX_SECRET_KEY in"),
        (("HTX_ACCESS_KEY",), "set HTX_SECRET_KEY in"),
        (("HTX_SECRET_KEY",), "set HTX_ACCESS_KEY in"),
    ],
)
def test_from_env_names_the_missing_variables(
    variables: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_PRIVATE_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    for name in variables:
        monkeypatch.setenv(name, "c0ffee-c0ffee")
    with pytest.raises(InvalidInputError) as caught:
        Credentials.from_env()
    assert message in str(caught.value)
    assert "c0ffee" not in full_text(caught.value)


@pytest.mark.parametrize("pem", ["c0ffee-c0ffee", "-----BEGIN PRIVATE KEY-----\nc0ffee-c0ffee", ""])
def test_invalid_private_key_is_rejected_without_exposing_it(
    pem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether passed or from the environment, neither key is in the frame locals."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.delenv("HTX_SECRET_KEY", raising=False)
    monkeypatch.setenv("HTX_PRIVATE_KEY", pem)
    for create in (Credentials.from_env, lambda: Credentials.ed25519(ACCESS_KEY, pem)):
        with pytest.raises(InvalidInputError) as caught:
            create()
        text = full_text(caught.value)
        assert caught.value.__context__ is None
        assert ACCESS_KEY not in text
        assert "c0ffee" not in text
