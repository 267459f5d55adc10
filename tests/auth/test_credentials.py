"""Keys are held, used, and never shown."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from htx_async import Credentials, InvalidInputError
from tests.shown import shown_by

ACCESS_KEY = "vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1"
SECRET_KEY = "b0c1d2e3-f4a5b6c7-d8e9f0a1-b2c3d"
CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY)


def test_four_characters_are_shown() -> None:
    """Of the access key, in every way to print it; of the secret none."""
    shown = "Credentials('vf25…', method='HmacSHA256')"
    assert repr(CREDENTIALS) == str(CREDENTIALS) == f"{CREDENTIALS}" == shown
    assert pretty_repr(CREDENTIALS) == pretty_repr([CREDENTIALS])[1:-1] == shown
    assert repr(Credentials("short", "secret")) == "Credentials('…', method='HmacSHA256')"


def test_nothing_that_lists_attributes_finds_a_key() -> None:
    """There is no `__dict__`, and no public attribute that holds one."""
    with pytest.raises(TypeError):
        vars(CREDENTIALS)
    public = {name for name in dir(CREDENTIALS) if not name.startswith("_")}
    plain = {
        name: value for name in public if not inspect.ismethod(value := getattr(CREDENTIALS, name))
    }
    assert plain == {"signature_method": "HmacSHA256"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("held", [CREDENTIALS, [CREDENTIALS], {"a": CREDENTIALS}])
def test_pickling_is_refused(protocol: int, held: Any) -> None:
    """Alone and in anything that holds them."""
    with pytest.raises(TypeError, match="Credentials cannot be pickled") as caught:
        pickle.dumps(held, protocol)
    assert SECRET_KEY not in shown_by(caught.value)


def test_the_state_is_not_handed_out() -> None:
    """What `pickle` and `copyreg` would ask for."""
    with pytest.raises(TypeError, match="Credentials cannot be pickled"):
        CREDENTIALS.__getstate__()


def test_a_copy_is_the_same_thing() -> None:
    """It is frozen, and there is one of it in memory."""
    assert copy.copy(CREDENTIALS) is CREDENTIALS
    assert copy.deepcopy([CREDENTIALS])[0] is CREDENTIALS


def test_credentials_are_frozen() -> None:
    """Nothing can be set, added or taken away."""
    for name in ("method", "_secret", "new"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(CREDENTIALS, name, "x")
    with pytest.raises(AttributeError, match="frozen"):
        del CREDENTIALS.signature_method
    assert CREDENTIALS.signature_method == "HmacSHA256"


def test_equal_keys_are_equal_credentials() -> None:
    """Both keys count."""
    same = Credentials(ACCESS_KEY, SECRET_KEY)
    assert same == CREDENTIALS
    assert hash(same) == hash(CREDENTIALS)
    assert Credentials(ACCESS_KEY, "other") != CREDENTIALS
    assert Credentials("other", SECRET_KEY) != CREDENTIALS
    assert CREDENTIALS != ACCESS_KEY
    assert len({same, CREDENTIALS}) == 1


def test_the_fingerprint_names_the_access_key() -> None:
    """The same for the same access key, and it cannot be read back."""
    assert CREDENTIALS.fingerprint() == Credentials(ACCESS_KEY, "other").fingerprint()
    assert CREDENTIALS.fingerprint() != Credentials("other", SECRET_KEY).fingerprint()
    assert ACCESS_KEY[:4] not in CREDENTIALS.fingerprint()


def test_what_they_are_for() -> None:
    """The parameters of HTX's pages, and the signature, in base64."""
    credentials = Credentials("access", "secret")
    assert credentials.auth_params() == (
        ("AccessKeyId", "access"),
        ("SignatureMethod", "HmacSHA256"),
        ("SignatureVersion", "2"),
    )
    told = "AccessKeyId=access&SignatureMethod=HmacSHA256&SignatureVersion=2"
    assert credentials.auth_query() == told
    # RFC 4231, test case 2
    assert Credentials("access", "Jefe").signature("what do ya want for nothing?") == (
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
    )


BAD: list[Any] = ["", " ", "with blank {}", "{}\n", "\r{}", "{}é", "{}\x00", b"{}", None, 7]


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("which", ["access_key", "secret_key"])
def test_a_key_that_cannot_be_one_is_refused_unseen(bad: Any, which: str) -> None:
    """Neither this key nor the other is in the error, or among the locals of its traceback."""
    marker = "c0ffee-c0ffee"
    if isinstance(bad, str):
        bad = bad.replace("{}", marker)
    elif isinstance(bad, bytes):
        bad = bad.replace(b"{}", marker.encode())
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, which: bad}
    with pytest.raises(InvalidInputError, match=f"^{which} ") as caught:
        Credentials(**keys)
    said = shown_by(caught.value)
    assert caught.value.__context__ is None
    for secret in (marker, ACCESS_KEY, SECRET_KEY):
        assert secret not in said
        assert secret[:8] not in said


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60))
def test_any_printable_ascii_is_a_key(key: str) -> None:
    """And signs."""
    assert len(Credentials(key, key).signature("x")) == 44


def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HTX_ACCESS_KEY` and `HTX_SECRET_KEY`."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET_KEY)
    assert Credentials.from_env() == CREDENTIALS


@pytest.mark.parametrize("bad", ["", "c0ffee c0ffee", "c0ffee-c0ffee\n"])
def test_a_bad_key_in_the_environment(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is refused as unseen as one that was passed in."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("HTX_SECRET_KEY", bad)
    with pytest.raises(InvalidInputError) as caught:
        Credentials.from_env()
    said = shown_by(caught.value)
    assert ACCESS_KEY not in said
    assert "c0ffee" not in said


@pytest.mark.parametrize(
    ("given_keys", "text"),
    [
        ((), "set HTX_ACCESS_KEY and HTX_SECRET_KEY in"),
        (("HTX_ACCESS_KEY",), "set HTX_SECRET_KEY in"),
        (("HTX_SECRET_KEY",), "set HTX_ACCESS_KEY in"),
    ],
)
def test_what_is_missing_in_the_environment_is_named(
    given_keys: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just what is missing."""
    for name in ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_PRIVATE_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    for name in given_keys:
        monkeypatch.setenv(name, "c0ffee-c0ffee")
    with pytest.raises(InvalidInputError) as caught:
        Credentials.from_env()
    assert text in str(caught.value)
    assert "c0ffee" not in shown_by(caught.value)


@pytest.mark.parametrize("pem", ["c0ffee-c0ffee", "-----BEGIN PRIVATE KEY-----\nc0ffee-c0ffee", ""])
def test_a_bad_private_key_is_refused_unseen(pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passed in or from the environment: neither key is among the locals."""
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.delenv("HTX_SECRET_KEY", raising=False)
    monkeypatch.setenv("HTX_PRIVATE_KEY", pem)
    for make in (Credentials.from_env, lambda: Credentials.ed25519(ACCESS_KEY, pem)):
        with pytest.raises(InvalidInputError) as caught:
            make()
        said = shown_by(caught.value)
        assert caught.value.__context__ is None
        assert ACCESS_KEY not in said
        assert "c0ffee" not in said
