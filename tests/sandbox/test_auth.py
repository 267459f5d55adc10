"""The verifier: published signatures, and what changes break one."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.sandbox import APIKey, errors
from htx_async.sandbox.auth import parameters, signed_text, verify
from htx_async.sandbox.errors import APIError, Cause
from htx_async.sandbox.request import Asked
from tests.sandbox import signer
from tests.virtual import DAY

PATH = "/v2/point/account"
KEY = APIKey("access-key", "secret-key")
KEYS = {KEY.access_key: KEY}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = TEXTS.filter(lambda name: name not in {"Signature", "AccessKeyId", "Timestamp"})


def asked(query: str | bytes, **changed: Any) -> Asked:
    raw = query.encode() if isinstance(query, str) else query
    return attrs.evolve(Asked("GET", signer.HOST, PATH, raw, "127.0.0.1"), **changed)


def check(query: str | bytes, now: float = DAY, **changed: Any) -> APIKey:
    request = asked(query, **changed)
    return verify(request, parameters(request.query), KEYS, now)


def refusal(query: str | bytes, now: float = DAY, **changed: Any) -> Cause:
    with pytest.raises(APIError) as caught:
        check(query, now, **changed)
    return caught.value.cause


def signed(*params: tuple[str, str], **options: Any) -> str:
    return signer.encoded(signer.sign(PATH, *params, **options))


# Published in the tests of HTX's Go and C# SDKs and of asynchuobi.
PUBLISHED = [
    (
        APIKey("access", "secret"),
        "2019-11-21T10:00:00",
        "/v1/account/accounts",
        "",
        "rWnLcMt3XBAsmXoNHtTQVpvMbH%2FcE1PXFwQAGeYwt3s%3D",
    ),
    (
        APIKey("access", "secret"),
        "2019-11-21T10:00:00",
        "/v1/account/history",
        "&account-id=123&currency=btc",
        "SGZYJ9Ub%2FhFerEBbSWsCxl8Djk%2BLRBgEZOB4fLc4T9Q%3D",
    ),
    (
        APIKey("HUOBI_ACCESS_KEY", "HUOBI_SECRET_KEY"),
        "2023-01-01T00:01:01",
        "/v1/account/accounts/1/balance",
        "",
        "R%2F5i5DPhCzsBiTKrFif7rbNBRiBU3gws1gFQlbfXmEU%3D",
    ),
    (
        APIKey("HUOBI_ACCESS_KEY", "HUOBI_SECRET_KEY"),
        "2023-01-01T00:01:01",
        "/v2/point/account",
        "&subUid=1",
        "NaisJp3h6Rsji4s4Q3WEUkL6YlWrVIpuKzdVMS48%2FEs%3D",
    ),
]


@pytest.mark.parametrize(("key", "timestamp", "path", "rest", "mac"), PUBLISHED)
def test_published_signatures_hold(
    key: APIKey, timestamp: str, path: str, rest: str, mac: str
) -> None:
    """Signatures that others published for their keys and times are accepted, and only there."""
    query = (
        f"AccessKeyId={key.access_key}&SignatureVersion=2&SignatureMethod=HmacSHA256"
        f"&Timestamp={timestamp}{rest}&Signature={mac}"
    )
    now = datetime.fromisoformat(f"{timestamp}+00:00").timestamp()
    request = asked(query, path=path)
    assert verify(request, parameters(request.query), {key.access_key: key}, now) is key
    with pytest.raises(APIError):
        verify(
            attrs.evolve(request, host="api-aws.huobi.pro"),
            parameters(request.query),
            {key.access_key: key},
            now,
        )


def test_the_signed_text_is_the_documented_one() -> None:
    """Method, host, path and the parameters in ASCII order, without the signature."""
    params = {"order-id": "1 2", "Timestamp": "2017-05-11T15:19:30", "Signature": "x", "a~": "*"}
    assert signed_text(asked(""), params) == (
        "GET\napi.huobi.pro\n/v2/point/account\n"
        "Timestamp=2017-05-11T15%3A19%3A30&a~=%2A&order-id=1%202"
    )


@given(st.dictionaries(NAMES, TEXTS, max_size=4), st.randoms(use_true_random=False))
def test_any_order_of_parameters_is_accepted(params: dict[str, str], random: Any) -> None:
    """Names and values may be anything in UTF-8, and come in any order."""
    pairs = signer.sign(PATH, *params.items())
    random.shuffle(pairs)
    assert check(signer.encoded(pairs)) is KEY


SENT = signed(("subUid", "1001"), ("text", "a b+c/é~"))


@given(st.integers(0, len(SENT) - 1), st.integers(0, 255))
def test_no_changed_byte_is_accepted(place: int, byte: int) -> None:
    """One other byte in the query is refused, unless it decodes to the same parameters."""
    changed = SENT.encode()[:place] + bytes([byte]) + SENT.encode()[place + 1 :]
    try:
        same = sorted(parse_qsl(changed.decode("ascii"), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        same = []
    if same == sorted(parse_qsl(SENT)):
        assert check(changed) is KEY
    else:
        assert refusal(changed).code in {"api-signature-not-valid", "login-required"}


@given(st.integers(0, len(PATH) - 1))
def test_no_changed_byte_of_the_path_is_accepted(place: int) -> None:
    """The path is signed as it was sent."""
    path = PATH[:place] + "~" + PATH[place + 1 :]
    assert refusal(SENT, path=path) == errors.WRONG_SIGNATURE


@pytest.mark.parametrize("changed", [{"host": "127.0.0.1"}, {"method": "POST"}])
def test_host_and_method_are_signed(changed: dict[str, Any]) -> None:
    """A signature for one host or method does not hold for another."""
    assert refusal(SENT, **changed) == errors.WRONG_SIGNATURE


def test_a_plus_is_a_space_and_hex_may_be_lower_case() -> None:
    """What is sent needs only decode to what was signed, as with HTX's own SDK."""
    query = signed(("text", "a b"))
    sloppy = query.replace("%20", "+").replace("%3A", "%3a")
    assert sloppy != query
    assert check(sloppy) is KEY


def test_a_signature_over_lower_case_hex_is_refused() -> None:
    """The text that is signed must have upper-case hex."""
    pairs = signer.sign(PATH)[:-1]
    text = f"GET\n{signer.HOST}\n{PATH}\n{signer.encoded(pairs).replace('%3A', '%3a')}"
    pairs.append(("Signature", signer.signature("secret-key", text)))
    assert refusal(signer.encoded(pairs)) == errors.WRONG_SIGNATURE


def test_a_parameter_that_comes_twice_is_refused() -> None:
    """Nobody could say which one was signed."""
    assert refusal(SENT + "&subUid=1001") == errors.WRONG_SIGNATURE


@pytest.mark.parametrize("query", [SENT + "&x=%ff", SENT.encode() + b"&x=\xff"])
def test_what_is_not_utf8_is_refused(query: str | bytes) -> None:
    """Neither encoded nor raw bytes may be anything else."""
    assert refusal(query) == errors.WRONG_SIGNATURE


@pytest.mark.parametrize("name", ["AccessKeyId", "Signature"])
@pytest.mark.parametrize("instead", ["", "{name}="])
def test_without_key_or_signature_nobody_asks(name: str, instead: str) -> None:
    """A missing access key or signature, or an empty one, is no attempt to sign."""
    kept = [item for item in SENT.split("&") if not item.startswith(f"{name}=")]
    query = "&".join([*kept, instead.format(name=name)])
    assert refusal(query) == errors.LOGIN_REQUIRED


def test_an_unknown_key_is_named_as_the_cause() -> None:
    """The signature does not matter then."""
    assert refusal(signed(access_key="other")) == errors.WRONG_ACCESS_KEY


@pytest.mark.parametrize("off", [-300, -299, 0, 300])
def test_five_minutes_off_are_accepted(off: int) -> None:
    """Either way."""
    assert check(signed(at=DAY + off)) is KEY


@pytest.mark.parametrize("off", [-301, 301, 3600, -(10**9)])
def test_more_than_five_minutes_off_are_refused(off: int) -> None:
    """Either way."""
    assert refusal(signed(at=DAY + off)) == errors.WRONG_TIME


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "1700000000",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.000",
        "2023-11-14 22:13:20",
        "2023-11-14t22:13:20",
        "٢023-11-14T22:13:20",
        "2023-11-14T22:13:20+00:00",
        "2023-13-14T22:13:20",
        "2023-11-14T22:13:20\n",
    ],
)
def test_a_malformed_time_is_refused(timestamp: str) -> None:
    """Only UTC as YYYY-MM-DDThh:mm:ss is a time, however it is signed."""
    assert refusal(signed(Timestamp=timestamp)) == errors.WRONG_TIME


@pytest.mark.parametrize(
    "changed",
    [
        {"SignatureMethod": "HmacSHA1"},
        {"SignatureMethod": ""},
        {"SignatureVersion": "1"},
        {"SignatureVersion": "2.1"},
    ],
)
def test_other_methods_and_versions_are_refused(changed: dict[str, str]) -> None:
    """Even if they are signed as such."""
    assert refusal(signed(**changed)) == errors.WRONG_SIGNATURE
