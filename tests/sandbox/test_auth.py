"""Authentication: published signatures, and which changes make a signature invalid."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.sandbox import APIKey, errors
from htx_async.sandbox.auth import authenticate, parse_query, signed_text
from htx_async.sandbox.errors import APIError, ErrorSpec
from htx_async.sandbox.request import ParsedRequest
from tests.sandbox import signer
from tests.virtual import DAY

PATH = "/v2/point/account"
KEY = APIKey("access-key", "secret-key")
KEYS = {KEY.access_key: KEY}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = TEXTS.filter(lambda name: name not in {"Signature", "AccessKeyId", "Timestamp"})


def request_with(query: str | bytes, **overrides: Any) -> ParsedRequest:
    raw = query.encode() if isinstance(query, str) else query
    return attrs.evolve(ParsedRequest("GET", signer.HOST, PATH, raw, "127.0.0.1"), **overrides)


def key_of(query: str | bytes, now: float = DAY, **overrides: Any) -> APIKey:
    request = request_with(query, **overrides)
    return authenticate(request, parse_query(request.query), KEYS, now)


def error_of(query: str | bytes, now: float = DAY, **overrides: Any) -> ErrorSpec:
    with pytest.raises(APIError) as raised:
        key_of(query, now, **overrides)
    return raised.value.spec


def signed(*params: tuple[str, str], **options: Any) -> str:
    return signer.encode_query(signer.sign(PATH, *params, **options))


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
def test_authenticate_accepts_published_signatures(
    key: APIKey, timestamp: str, path: str, rest: str, mac: str
) -> None:
    """Signatures that others published for their keys and times; not for another host."""
    query = (
        f"AccessKeyId={key.access_key}&SignatureVersion=2&SignatureMethod=HmacSHA256"
        f"&Timestamp={timestamp}{rest}&Signature={mac}"
    )
    now = datetime.fromisoformat(f"{timestamp}+00:00").timestamp()
    request = request_with(query, path=path)
    assert authenticate(request, parse_query(request.query), {key.access_key: key}, now) is key
    with pytest.raises(APIError):
        authenticate(
            attrs.evolve(request, host="api-aws.huobi.pro"),
            parse_query(request.query),
            {key.access_key: key},
            now,
        )


def test_signed_text_is_the_documented_one() -> None:
    """Method, host, path and the parameters in ASCII order, without the signature."""
    params = {"order-id": "1 2", "Timestamp": "2017-05-11T15:19:30", "Signature": "x", "a~": "*"}
    assert signed_text(request_with(""), params) == (
        "GET\napi.huobi.pro\n/v2/point/account\n"
        "Timestamp=2017-05-11T15%3A19%3A30&a~=%2A&order-id=1%202"
    )


@given(st.dictionaries(NAMES, TEXTS, max_size=4), st.randoms(use_true_random=False))
def test_authenticate_accepts_any_order_of_parameters(params: dict[str, str], random: Any) -> None:
    """With any names and values in UTF-8."""
    pairs = signer.sign(PATH, *params.items())
    random.shuffle(pairs)
    assert key_of(signer.encode_query(pairs)) is KEY


SENT = signed(("subUid", "1001"), ("text", "a b+c/é~"))


@given(st.integers(0, len(SENT) - 1), st.integers(0, 255))
def test_authenticate_rejects_a_changed_byte_of_the_query(place: int, byte: int) -> None:
    """Unless it decodes to the same parameters."""
    changed = SENT.encode()[:place] + bytes([byte]) + SENT.encode()[place + 1 :]
    try:
        same = sorted(parse_qsl(changed.decode("ascii"), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        same = []
    if same == sorted(parse_qsl(SENT)):
        assert key_of(changed) is KEY
    else:
        assert error_of(changed).code in {"api-signature-not-valid", "login-required"}


@given(st.integers(0, len(PATH) - 1))
def test_authenticate_rejects_a_changed_byte_of_the_path(place: int) -> None:
    """The path is signed as it is sent."""
    path = PATH[:place] + "~" + PATH[place + 1 :]
    assert error_of(SENT, path=path) == errors.WRONG_SIGNATURE


@pytest.mark.parametrize("changed", [{"host": "127.0.0.1"}, {"method": "POST"}])
def test_authenticate_rejects_another_host_or_method(changed: dict[str, Any]) -> None:
    assert error_of(SENT, **changed) == errors.WRONG_SIGNATURE


def test_authenticate_accepts_plus_and_lower_case_hex_in_the_query() -> None:
    """The query only has to decode to the signed parameters, as with HTX's own SDK."""
    query = signed(("text", "a b"))
    sloppy = query.replace("%20", "+").replace("%3A", "%3a")
    assert sloppy != query
    assert key_of(sloppy) is KEY


def test_authenticate_rejects_a_signature_over_lower_case_hex() -> None:
    """The signed text must have upper-case hex."""
    pairs = signer.sign(PATH)[:-1]
    text = f"GET\n{signer.HOST}\n{PATH}\n{signer.encode_query(pairs).replace('%3A', '%3a')}"
    pairs.append(("Signature", signer.signature("secret-key", text)))
    assert error_of(signer.encode_query(pairs)) == errors.WRONG_SIGNATURE


def test_parse_query_rejects_a_duplicate_parameter() -> None:
    """Which one was signed is unknown."""
    assert error_of(SENT + "&subUid=1001") == errors.WRONG_SIGNATURE


@pytest.mark.parametrize("query", [SENT + "&x=%ff", SENT.encode() + b"&x=\xff"])
def test_parse_query_rejects_bytes_that_are_not_utf8(query: str | bytes) -> None:
    """Percent-encoded or raw."""
    assert error_of(query) == errors.WRONG_SIGNATURE


@pytest.mark.parametrize("name", ["AccessKeyId", "Signature"])
@pytest.mark.parametrize("instead", ["", "{name}="])
def test_authenticate_requires_access_key_and_signature(name: str, instead: str) -> None:
    """An empty one counts as missing."""
    kept = [item for item in SENT.split("&") if not item.startswith(f"{name}=")]
    query = "&".join([*kept, instead.format(name=name)])
    assert error_of(query) == errors.LOGIN_REQUIRED


def test_authenticate_names_an_unknown_key() -> None:
    """Whatever the signature."""
    assert error_of(signed(access_key="other")) == errors.WRONG_ACCESS_KEY


@pytest.mark.parametrize("off", [-300, -299, 0, 300])
def test_authenticate_accepts_a_timestamp_up_to_five_minutes_off(off: int) -> None:
    """Either way."""
    assert key_of(signed(at=DAY + off)) is KEY


@pytest.mark.parametrize("off", [-301, 301, 3600, -(10**9)])
def test_authenticate_rejects_a_timestamp_more_than_five_minutes_off(off: int) -> None:
    """Either way."""
    assert error_of(signed(at=DAY + off)) == errors.WRONG_TIME


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
def test_authenticate_rejects_a_malformed_timestamp(timestamp: str) -> None:
    """Only UTC as YYYY-MM-DDThh:mm:ss is valid, even if it is signed."""
    assert error_of(signed(Timestamp=timestamp)) == errors.WRONG_TIME


@pytest.mark.parametrize(
    "changed",
    [
        {"SignatureMethod": "HmacSHA1"},
        {"SignatureMethod": ""},
        {"SignatureVersion": "1"},
        {"SignatureVersion": "2.1"},
    ],
)
def test_authenticate_rejects_other_signature_methods_and_versions(changed: dict[str, str]) -> None:
    """Even if they are signed."""
    assert error_of(signed(**changed)) == errors.WRONG_SIGNATURE
