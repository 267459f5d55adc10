"""Request signatures: published test vectors, canonical query, and the signing middleware."""

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
from htx_async.auth.signature import canonical_query, format_timestamp, websocket_params
from htx_async.clock import Clock, ServerClock
from htx_async.middleware.signing import Signing, sign_request
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response

VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("vectors.json").read_text(encoding="utf-8")
)
"""REST signatures of HTX's SDKs and other libraries, all with test keys."""

HOST = "api.huobi.pro"
CREDENTIALS = Credentials("test-access-key-1", "test-secret-key-1")
AT = 1_700_000_000.0  # 2023-11-14T22:13:20
AUTH_PARAMS = {"AccessKeyId", "SignatureMethod", "SignatureVersion", "Timestamp"}

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
    """Return the signed part of the query, and the signature."""
    query, _, signature = request.query.partition("&Signature=")
    return query, unquote(signature)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["id"]))
def test_signature_matches_published_vectors(vector: dict[str, Any]) -> None:
    """Each vector has a key, time, method, host, path and parameters."""
    request_params = tuple(item for item in vector["params"].items() if item[0] not in AUTH_PARAMS)
    request = request_to(vector["path"], method=vector["method"], params=request_params)
    credentials = Credentials(vector["access_key"], vector["secret"])
    at = calendar.timegm(time.strptime(vector["timestamp"], "%Y-%m-%dT%H:%M:%S"))

    signed = sign_request(request, credentials, vector["host"], at + 0.999)

    assert split(signed) == (vector["canonical_query"], vector["signature"])


def test_vectors_cover_both_methods_and_parameters() -> None:
    """The table of vectors is not empty, and covers parameters and POST requests."""
    assert len(VECTORS) >= 10
    assert {vector["method"].upper() for vector in VECTORS} == {"GET", "POST"}
    assert any(set(vector["params"]) - AUTH_PARAMS for vector in VECTORS)


@given(params, st.randoms(use_true_random=False))
def test_signature_is_independent_of_parameter_order(
    parameters: list[tuple[str, str]], random: Any
) -> None:
    """The same text is signed and sent for any order of the parameters."""
    shuffled = parameters.copy()
    random.shuffle(shuffled)
    one, other = (
        sign_request(request_to(params=tuple(pairs)), CREDENTIALS, HOST, AT)
        for pairs in (parameters, shuffled)
    )
    assert one.query == other.query


@given(params)
def test_canonical_query_encodes_all_but_unreserved_characters(
    parameters: list[tuple[str, str]],
) -> None:
    """The hex digits are upper case, a space is `%20`, and decoding restores the parameters."""
    query = canonical_query(parameters)
    assert re.fullmatch(r"(?:[A-Za-z0-9._~&=-]|%[0-9A-F]{2})*", query)
    # `unquote`, not `unquote_plus`: a plus sign is never a space.
    pairs = [pair.split("=") for pair in query.split("&") if pair]
    assert sorted((unquote(k), unquote(v)) for k, v in pairs) == sorted(parameters)


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
def test_canonical_query_encodes_characters_by_rfc_3986(value: str, encoded: str) -> None:
    """UTF-8, with hex digits in upper case."""
    assert canonical_query([("a", value)]) == f"a={encoded}"


def test_canonical_query_sorts_names_in_ascii_order() -> None:
    """Upper case sorts before lower case, so authentication parameters come first."""
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
def test_signed_query_sorts_parameters_among_authentication_parameters(
    names: str, query: str
) -> None:
    """Parameters may sort before, between and after the authentication parameters."""
    params = tuple((name, "1") for name in names)
    signed = sign_request(request_to(params=params), CREDENTIALS, HOST, AT).query
    expected = query.format(
        key="AccessKeyId=test-access-key-1",
        method="SignatureMethod=HmacSHA256&SignatureVersion=2",
        time="Timestamp=2023-11-14T22%3A13%3A20",
    )
    assert signed.partition("&Signature=")[0] == expected


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
def test_timestamp_is_utc_in_whole_seconds(
    at: float, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no fraction and no zone, in any local time zone."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert format_timestamp(at) == text
    finally:
        monkeypatch.undo()
        time.tzset()


def test_signature_normalises_host_and_method() -> None:
    """The host is signed in lower case, the method in upper case."""
    plain = sign_request(request_to(), CREDENTIALS, HOST, AT)
    assert (
        sign_request(request_to(method="get"), CREDENTIALS, "API.Huobi.PRO", AT).query
        == plain.query
    )
    assert sign_request(request_to(), CREDENTIALS, "api-aws.huobi.pro", AT).query != plain.query


def test_signature_is_percent_encoded() -> None:
    """The characters `+`, `/` and `=` of base64 are encoded in the query."""
    signatures = [
        sign_request(request_to(), CREDENTIALS, HOST, AT + second).query.partition("&Signature=")[2]
        for second in range(60)
    ]
    assert all(re.fullmatch("(?:[A-Za-z0-9]|%2B|%2F|%3D)*", signature) for signature in signatures)
    assert {"%2B", "%2F", "%3D"} <= set(re.findall("%..", "".join(signatures)))


@given(params, st.floats(0, 4e9))
def test_signature_covers_the_query_before_it(parameters: list[tuple[str, str]], at: float) -> None:
    """The signature can be recomputed from the sent query alone."""
    signed = sign_request(request_to(params=tuple(parameters)), CREDENTIALS, HOST, at)
    query, signature = split(signed)
    text = f"GET\n{HOST}\n/v1/account/accounts\n{query}"
    digest = hmac.new(b"test-secret-key-1", text.encode(), hashlib.sha256).digest()
    assert signature == base64.b64encode(digest).decode()


class FixedClock(Clock):
    """A wall clock that the test sets."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


async def test_signing_signs_a_copy_for_each_attempt() -> None:
    """Each attempt has its own signature, and the original request is unchanged."""
    sent: list[Request] = []
    clock = FixedClock(AT)

    async def send(request: Request) -> Response:
        sent.append(request)
        return Response(200, {}, b"")

    layer = Signing(send, CredentialStore(CREDENTIALS, clock), HOST, clock, ServerClock(clock))
    request = request_to(params=(("subUid", "7"),))
    await layer(request)
    clock.at += 61
    await layer(request)

    queries = [dict(parse_qsl(signed.query)) for signed in sent]
    timestamps = [query["Timestamp"] for query in queries]
    assert timestamps == ["2023-11-14T22:13:20", "2023-11-14T22:14:21"]
    assert queries[0]["Signature"] != queries[1]["Signature"]
    assert [query["subUid"] for query in queries] == ["7", "7"]
    assert request.query == ""
    assert [msgspec.structs.replace(signed, query="") for signed in sent] == [request, request]
    assert all(signed.call is request.call for signed in sent)


async def test_signing_uses_the_corrected_clock_and_records_it() -> None:
    """The timestamp is corrected; credentials, correction and time are recorded in the call."""
    sent: list[Request] = []

    async def send(request: Request) -> Response:
        sent.append(request)
        return Response(200, {}, b"")

    clock = FixedClock(AT)
    server_clock = ServerClock(clock)
    server_clock.calibrate(AT + 30, first_byte_at=clock.monotonic())
    layer = Signing(send, CredentialStore(CREDENTIALS, clock), HOST, clock, server_clock)
    before = clock.monotonic()
    await layer(request_to())

    timestamp = calendar.timegm(
        time.strptime(dict(parse_qsl(sent[0].query))["Timestamp"], "%Y-%m-%dT%H:%M:%S")
    )
    assert timestamp == pytest.approx(AT + 30, abs=1.5)
    signed = sent[0].call.signed_with
    assert signed is not None
    assert signed.credentials == CREDENTIALS
    assert signed.correction == pytest.approx(30, abs=0.5)
    assert before <= signed.at <= clock.monotonic()


async def test_signing_leaves_public_endpoints_unsigned() -> None:
    """The request of an unsigned endpoint has its parameters and no key."""
    sent: list[Request] = []

    async def send(request: Request) -> Response:
        sent.append(request)
        return Response(200, {}, b"")

    clock = FixedClock(AT)
    layer = Signing(send, CredentialStore(CREDENTIALS, clock), HOST, clock, ServerClock(clock))
    await layer(request_to(signed=False))
    await layer(request_to(signed=False, params=(("b", "x y"), ("a", "1"))))
    assert [request.query for request in sent] == ["", "a=1&b=x%20y"]


def test_websocket_params_match_the_published_vector() -> None:
    """HuobiRDCenter/huobi_Golang, the test of its WebSocket v2 builder."""
    at = calendar.timegm((2019, 11, 21, 10, 0, 0))
    params = websocket_params("API.huobi.pro", "/ws/v2", Credentials("access", "secret"), at)
    assert params == {
        "authType": "api",
        "accessKey": "access",
        "signatureMethod": "HmacSHA256",
        "signatureVersion": "2.1",
        "timestamp": "2019-11-21T10:00:00",
        "signature": "1/d+cUIEh4tC0aXho86zu5QAxVzJaTe56mUiB275T0E=",
    }
