"""What is signed, against signatures that others published; and that it is what is sent."""

from __future__ import annotations

import base64
import calendar
import hashlib
import hmac
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.auth.credentials import Credentials
from htx_async.auth.provider import CredentialStore
from htx_async.auth.signature import canonical_query, format_timestamp
from htx_async.clock import Clock, ServerClock
from htx_async.middleware.signing import Signing, sign_request
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response

VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("vectors.json").read_text(encoding="utf-8")
)
"""REST signatures of HTX's own SDKs and others, all made with test keys."""

HOST = "api.huobi.pro"
CREDENTIALS = Credentials("test-access-key-1", "test-secret-key-1")
AT = 1_700_000_000.0  # 2023-11-14T22:13:20
AUTHENTICATION = {"AccessKeyId", "SignatureMethod", "SignatureVersion", "Timestamp"}

params = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    ),
    max_size=5,
)


def request_to(
    path: str = "/v1/account/accounts",
    *,
    method: str = "GET",
    signed: bool = True,
    params: tuple[tuple[str, str], ...] = (),
) -> Request:
    endpoint = Endpoint(path, RateLimit(1, per=1.0), bytes, method=method, signed=signed)
    return Request(endpoint, path, params)


def split(request: Request) -> tuple[str, str]:
    """Return what was signed of the query, and the signature."""
    query, _, signature = request.query.partition("&Signature=")
    return query, unquote(signature)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["id"]))
def test_published_signatures_are_reproduced(vector: dict[str, Any]) -> None:
    """A published signature comes out for its key, time, method, host, path and parameters."""
    business = tuple(item for item in vector["params"].items() if item[0] not in AUTHENTICATION)
    request = request_to(vector["path"], method=vector["method"], params=business)
    credentials = Credentials(vector["access_key"], vector["secret"])
    at = calendar.timegm(time.strptime(vector["timestamp"], "%Y-%m-%dT%H:%M:%S"))

    signed = sign_request(request, credentials, vector["host"], at + 0.999)

    assert split(signed) == (vector["canonical_query"], vector["signature"])


def test_there_are_vectors_of_both_methods() -> None:
    """The table of vectors is not empty, and covers parameters and POST."""
    assert len(VECTORS) >= 10
    assert {vector["method"].upper() for vector in VECTORS} == {"GET", "POST"}
    assert any(set(vector["params"]) - AUTHENTICATION for vector in VECTORS)


@given(params, st.randoms(use_true_random=False))
def test_the_order_of_parameters_does_not_matter(
    given_params: list[tuple[str, str]], random: Any
) -> None:
    """However the parameters are ordered, the same text is signed and sent."""
    shuffled = given_params.copy()
    random.shuffle(shuffled)
    one, other = (
        sign_request(request_to(params=tuple(each)), CREDENTIALS, HOST, AT)
        for each in (given_params, shuffled)
    )
    assert one.query == other.query


@given(params)
def test_only_unreserved_characters_stand_bare(given_params: list[tuple[str, str]]) -> None:
    """All else is percent-encoded in upper-case hex, a blank as `%20`; it decodes to itself."""
    query = canonical_query(given_params)
    assert re.fullmatch(r"(?:[A-Za-z0-9._~&=-]|%[0-9A-F]{2})*", query)
    # `unquote`, not `unquote_plus`: a plus sign is never a blank.
    pairs = [pair.split("=") for pair in query.split("&") if pair]
    assert sorted((unquote(k), unquote(v)) for k, v in pairs) == sorted(given_params)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (" ", "%20"),
        ("+", "%2B"),
        ("*", "%2A"),
        ("~", "~"),
        ("-._", "-._"),
        ("/", "%2F"),
        (":", "%3A"),
        (",", "%2C"),
        ("=", "%3D"),
        ("&", "%26"),
        ("%2f", "%252f"),
        ("é", "%C3%A9"),
        ("币", "%E5%B8%81"),
    ],
)
def test_how_a_character_is_encoded(value: str, encoded: str) -> None:
    """RFC 3986: UTF-8, and hex digits in upper case."""
    assert canonical_query([("a", value)]) == f"a={encoded}"


def test_names_are_in_ascii_order() -> None:
    """Upper case comes before lower case, so the authentication before HTX's own names."""
    names = [("uid", "1"), ("Zone", "2"), ("accessKey", "3"), ("AccessKeyId", "4"), ("a-b", "5")]
    assert canonical_query(names) == "AccessKeyId=4&Zone=2&a-b=5&accessKey=3&uid=1"


@pytest.mark.parametrize(
    ("names", "query"),
    [
        ("", "{key}&{method}&{time}"),
        ("A", "A=1&{key}&{method}&{time}"),
        ("xz", "{key}&{method}&{time}&x=1&z=1"),
        ("AB", "A=1&{key}&B=1&{method}&{time}"),
        ("Tx", "{key}&{method}&T=1&{time}&x=1"),
        ("Ax", "A=1&{key}&{method}&{time}&x=1"),
    ],
)
def test_names_stand_around_those_of_the_authentication(names: str, query: str) -> None:
    """Before, between and after them, with the time that was asked for."""
    params = tuple((name, "1") for name in names)
    signed = sign_request(request_to(params=params), CREDENTIALS, HOST, AT).query
    wanted = query.format(
        key="AccessKeyId=test-access-key-1",
        method="SignatureMethod=HmacSHA256&SignatureVersion=2",
        time="Timestamp=2023-11-14T22%3A13%3A20",
    )
    assert signed.partition("&Signature=")[0] == wanted


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0.0, "1970-01-01T00:00:00"),
        (1_700_000_000.0, "2023-11-14T22:13:20"),
        (1_700_000_000.999, "2023-11-14T22:13:20"),
        (1_709_164_800.5, "2024-02-29T00:00:00"),
        (4_102_444_799.0, "2099-12-31T23:59:59"),
    ],
)
def test_the_time_is_utc_in_whole_seconds(
    at: float, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fraction and no zone, wherever this machine stands."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert format_timestamp(at) == text
    finally:
        monkeypatch.undo()
        time.tzset()


def test_host_and_method_are_normalised_in_the_signed_text() -> None:
    """The host counts in lower case, the method in upper case."""
    plain = sign_request(request_to(), CREDENTIALS, HOST, AT)
    assert (
        sign_request(request_to(method="get"), CREDENTIALS, "API.Huobi.PRO", AT).query
        == plain.query
    )
    assert sign_request(request_to(), CREDENTIALS, "api-aws.huobi.pro", AT).query != plain.query


def test_the_signature_is_encoded_too() -> None:
    """Base64 has `+`, `/` and `=`: none of them stands bare in the query."""
    signatures = [
        sign_request(request_to(), CREDENTIALS, HOST, AT + second).query.partition("&Signature=")[2]
        for second in range(60)
    ]
    assert all(re.fullmatch("(?:[A-Za-z0-9]|%2B|%2F|%3D)*", each) for each in signatures)
    assert {"%2B", "%2F", "%3D"} <= set(re.findall("%..", "".join(signatures)))


@given(params, st.floats(0, 4e9))
def test_the_signature_is_of_what_stands_before_it(
    given_params: list[tuple[str, str]], at: float
) -> None:
    """Recomputed from the query that is sent alone, the signature fits."""
    signed = sign_request(request_to(params=tuple(given_params)), CREDENTIALS, HOST, at)
    query, signature = split(signed)
    text = f"GET\n{HOST}\n/v1/account/accounts\n{query}"
    digest = hmac.new(b"test-secret-key-1", text.encode(), hashlib.sha256).digest()
    assert signature == base64.b64encode(digest).decode()


class At(Clock):
    """A clock that stands until it is set."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


async def test_the_layer_signs_a_copy_by_the_given_clock() -> None:
    """Each attempt is signed anew; what came down stays as it was."""
    sent: list[Request] = []
    clock = At(AT)

    async def send(request: Request) -> Response:
        sent.append(request)
        return Response(200, {}, b"")

    layer = Signing(send, CredentialStore(CREDENTIALS, clock), HOST, clock, ServerClock(clock))
    request = request_to(params=(("subUid", "7"),))
    await layer(request)
    clock.at += 61
    await layer(request)

    said = [dict(parse_qsl(each.query)) for each in sent]
    assert [each["Timestamp"] for each in said] == ["2023-11-14T22:13:20", "2023-11-14T22:14:21"]
    assert said[0]["Signature"] != said[1]["Signature"]
    assert [each["subUid"] for each in said] == ["7", "7"]
    assert request.query == ""
    assert [msgspec.structs.replace(each, query="") for each in sent] == [request, request]
    assert all(each.call is request.call for each in sent)


async def test_the_layer_signs_by_htx_s_clock_and_says_so() -> None:
    """The correction is added, and noted with the keys and the moment."""
    sent: list[Request] = []

    async def send(request: Request) -> Response:
        sent.append(request)
        return Response(200, {}, b"")

    clock = At(AT)
    time_of_htx = ServerClock(clock)
    time_of_htx.calibrate(AT + 30, first_byte_at=clock.monotonic())
    layer = Signing(send, CredentialStore(CREDENTIALS, clock), HOST, clock, time_of_htx)
    before = clock.monotonic()
    await layer(request_to())

    said = calendar.timegm(
        time.strptime(dict(parse_qsl(sent[0].query))["Timestamp"], "%Y-%m-%dT%H:%M:%S")
    )
    assert said == pytest.approx(AT + 30, abs=1.5)
    signed = sent[0].call.signed_with
    assert signed is not None
    assert signed.credentials == CREDENTIALS
    assert signed.correction == pytest.approx(30, abs=0.5)
    assert before <= signed.at <= clock.monotonic()


async def test_what_htx_tells_everybody_is_asked_unsigned() -> None:
    """An unsigned endpoint gets its parameters, and no key."""
    sent: list[Request] = []

    async def send(request: Request) -> Response:
        sent.append(request)
        return Response(200, {}, b"")

    clock = At(AT)
    layer = Signing(send, CredentialStore(CREDENTIALS, clock), HOST, clock, ServerClock(clock))
    await layer(request_to(signed=False))
    await layer(request_to(signed=False, params=(("b", "x y"), ("a", "1"))))
    assert [each.query for each in sent] == ["", "a=1&b=x%20y"]
