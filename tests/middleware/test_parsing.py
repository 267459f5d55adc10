"""Every kind of response: its value, or the error that it is, without a secret in it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    AccessKeyError,
    AccountNotFoundError,
    APIError,
    Clock,
    ClockError,
    DecodeError,
    HTXError,
    IPAddressError,
    KeyExpiredError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
    SignatureError,
    redaction,
)
from htx_async.middleware.parsing import EnvelopeParsing, parse_response
from htx_async.models import decoding
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response
from htx_async.resources import accounts, points
from tests import strategies
from tests.error_text import full_text

ACCESS_KEY = "vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1"
SIGNATURE = "4F65x5A2bLyMWVQj3Aqp+BQ4w+ivaA7n5O/2SuYtCJ9o="
SENT_QUERY = (
    f"AccessKeyId={ACCESS_KEY}&SignatureMethod=HmacSHA256&SignatureVersion=2"
    f"&Timestamp=2023-11-14T22%3A13%3A20&Signature={quote(SIGNATURE, safe='')}"
)
RAW = Endpoint("/v1/account/accounts", RateLimit(1, per=1.0), bytes)
ENDPOINT = RAW.name
HALF_PAST = 1_445_412_480.5
"""The middle of the second 2015-10-21T07:28:00Z."""


def parsed(
    body: bytes | str, status: int = 200, endpoint: Endpoint[Any] = RAW, **headers: str
) -> Response:
    raw = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return parse_response(endpoint, Response(status, named, raw, sent_query=SENT_QUERY))


def error_of(body: bytes | str, status: int = 200, **headers: str) -> HTXError:
    error = parsed(body, status, RAW, **headers).error
    assert error is not None
    assert error.endpoint == ENDPOINT
    assert error.http_status == status
    assert error.delivery == "answered"
    return error


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ('{"status":"ok","data":[1, 2.50]}', b"[1, 2.50]"),
        ('{"status":"ok","ts":1,"ch":"x","next-id":2,"data":"text"}', b'"text"'),
        ('{"status":"ok","code":200,"data":{}}', b"{}"),
        ('{"status":"ok","code":500,"data":{}}', b"{}"),
        ('{"code":200,"data":1}', b"1"),
        ('{"code":200,"message":"success","data":1,"success":true}', b"1"),
        ('{"code":200,"data":1,"success":"true"}', b"1"),
        ('{"code":200,"data":1,"success":null}', b"1"),
        ('{"code":200,"data":1,"ok":true}', b"1"),
        ('{"code":"200","data":{"currency":"TRX"},"success":true}', b'{"currency":"TRX"}'),
        ('{"code":200,"data":null}', b"null"),
        (' \n{"data":1,"code":200}\n', b"1"),
        ('{"status":null,"code":200,"data":1}', b"1"),
        ('{"code":200,"data":1,"new":{"field":[[[]]]}}', b"1"),
    ],
)
@pytest.mark.parametrize("status", [200, 201])
def test_envelope_with_data_is_a_success(body: str, data: bytes, status: int) -> None:
    """`status` is considered first, then `code`; `success` and `ok` may be missing."""
    response = parsed(body, status)
    assert response.error is None
    assert response.value == data
    assert response.status == status


FIELDS = ("status", "code", "success", "ok", "message", "err-code", "err-msg", "data", "ts")
LOGIN = "login-required"
Unavailable, RateLimited, AccessKey = ServiceUnavailableError, RateLimitedError, AccessKeyError
PermissionDenied, Signature, Other = PermissionDeniedError, SignatureError, APIError
API_ERRORS: list[tuple[str, int, type[HTXError], bool, Any, str | None]] = [
    # body, status, error, retryable, code, message
    ('{"status":"error","err-code":"x","err-msg":"y","data":0}', 200, Other, False, "x", "y"),
    ('{"status":"error"}', 200, Other, False, None, None),
    ('{"status":"weird","data":1}', 200, Other, False, None, None),
    ('{"status":"error","err-code":7.5,"err-msg":[]}', 200, Other, False, None, None),
    ('{"status":"error","err-msg":0.0,"message":"m"}', 200, Other, False, None, "m"),
    ('{"status":"error","err_code":1003,"err_msg":"w"}', 200, Signature, False, 1003, "w"),
    ('{"status":"error","code":1003,"message":"w"}', 200, Signature, False, 1003, "w"),
    ('{"status":"error","code":200,"err-code":"timeout"}', 200, Unavailable, True, "timeout", None),
    ('{"code":1003,"message":"m"}', 200, Signature, False, 1003, "m"),
    ('{"code":"1003","message":"m"}', 200, Signature, False, 1003, "m"),
    ('{"code":1006,"message":"m"}', 200, RateLimited, True, 1006, "m"),
    ('{"code":500,"message":"m"}', 200, Unavailable, True, 500, "m"),
    ('{"code":-1,"data":1}', 200, Other, False, -1, None),
    ('{"code":200,"data":1,"success":false}', 200, Other, False, 200, None),
    ('{"code":200,"data":1,"success":"False"}', 200, Other, False, 200, None),
    ('{"code":200,"data":1,"ok":false,"message":"m"}', 200, Other, False, 200, "m"),
    ('{"code":"abc","data":1}', 200, Other, False, "abc", None),
    ('{"status":"error","err-code":"x"}', 400, Other, False, "x", None),
    ('{"status":"error","err-code":"x"}', 401, AccessKey, False, "x", None),
    ('{"status":"error","err-code":"x"}', 403, PermissionDenied, False, "x", None),
    ('{"status":"error","err-code":"x"}', 429, RateLimited, True, "x", None),
    ('{"status":"error","err-code":"x"}', 503, Unavailable, True, "x", None),
    # The code is more specific than the status, except for 429.
    ('{"status":"error","err-code":"login-required"}', 403, AccessKey, False, LOGIN, None),
    ('{"status":"error","err-code":"login-required"}', 429, RateLimited, True, LOGIN, None),
    ('{"status":"error","err-code":"login-required"}', 500, AccessKey, False, LOGIN, None),
    # The body is a success, and the HTTP status is not.
    ('{"status":"ok","data":1}', 500, Unavailable, True, None, None),
    ('{"code":200,"data":1}', 302, Unavailable, False, None, None),
    ('{"code":200,"data":1}', 429, RateLimited, True, None, None),
    ('{"hello":1}', 404, Other, False, None, None),
    ("{}", 502, Unavailable, True, None, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "kind", "retryable", "code", "message"),
    API_ERRORS,
    ids=[f"{row[1]} {row[0]}" for row in API_ERRORS],
)
def test_api_error_has_class_code_and_message(
    body: str, status: int, kind: type[HTXError], retryable: bool, code: Any, message: str | None
) -> None:
    """Code and message of HTX in either envelope, and the class that they mean."""
    error = error_of(body, status)
    assert type(error) is kind
    assert error.retryable is retryable
    assert (error.code, error.message) == (code, message)
    assert str(error).startswith(f"{ENDPOINT}: HTX returned an error")
    assert (f"HTTP {status}" in str(error)) == (status != 200)
    assert parsed(body, status).value is None


ACCESS_KEY_ERROR = "Signature not valid: Incorrect Access key ["
TAILS = {
    "GBK": "Access key错误".encode("gbk"),
    "cut character": "错误".encode()[:-1],
    "invalid byte": b"\xff",
    "lone surrogate": b"\\ud800",
    "lone low surrogate": b"x\\udc00",
    "surrogate as UTF-8": b"\xed\xa0\x80",
}
NOT_UNICODE: list[tuple[bytes, type[HTXError], Any, str]] = [
    # body, error, code, beginning of the message
    (
        b'{"status":"error","err-code":"api-signature-not-valid","err-msg":"%s%%b]","data":null}'
        % ACCESS_KEY_ERROR.encode(),
        *(AccessKeyError, "api-signature-not-valid", ACCESS_KEY_ERROR),
    ),
    (b'{"code":1006,"message":"too many %b"}', RateLimitedError, 1006, "too many "),
    (b'{"code":1002,"message":"x %b","success":false,"data":7}', PermissionDenied, 1002, "x "),
    (b'{"%b":1,"code":"1003","message":"m"}', SignatureError, 1003, "m"),
    (b'{"status":"error","err-code":"timeout","data":{"%b":"%b"}}', Unavailable, "timeout", ""),
]


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
@pytest.mark.parametrize(("body", "kind", "code", "message"), NOT_UNICODE)
@pytest.mark.parametrize("endpoint", [RAW, accounts.LIST, accounts.BALANCE], ids=lambda it: it.name)
def test_api_error_with_text_that_is_not_unicode_keeps_its_class(
    body: bytes, kind: type[HTXError], code: Any, message: str, tail: bytes, endpoint: Endpoint[Any]
) -> None:
    """The error code decides; the text is decoded with replacements."""
    error = parsed(body.replace(b"%b", tail), endpoint=endpoint).error
    assert type(error) is kind
    assert error.code == code
    assert (error.message or "").startswith(message)
    assert str(error).isprintable()
    str(error).encode()


@pytest.mark.parametrize("tail", [TAILS["GBK"], TAILS["cut character"], TAILS["invalid byte"]])
@pytest.mark.parametrize(
    "body",
    [
        b'{"code":200,"data":[],"succ%bess":false}',
        b'{"code":200,"data":[],"success":true,"x":"%b"}',
        b'{"status":"ok","data":[],"message":"%b"}',
        b'{"status":"ok","data":[],"x":{"%b":1}}',
        b'{"status":"ok","data":"%b"}',
    ],
)
@pytest.mark.parametrize("endpoint", [RAW, accounts.LIST], ids=lambda it: it.name)
def test_body_that_is_not_utf8_is_never_a_success(
    body: bytes, tail: bytes, endpoint: Endpoint[Any]
) -> None:
    """Also if a field that nobody reads is not; it may be `success` with an invalid byte."""
    response = parsed(body.replace(b"%b", tail), endpoint=endpoint)
    assert type(response.error) is DecodeError
    assert response.value is None
    assert "it is not UTF-8 text" in str(response.error)


@pytest.mark.parametrize(
    "body",
    [
        '{"status":"ok","message":"\\ud800","data":[]}',
        '{"status":"ok","x":"\\udc00","data":[]}',
        '{"status":"ok","ts":%s,"data":[]}' % ("9" * 5_000),
        '{"code":200,"success":%s,"data":[]}' % ("9" * 5_000),
        '{"code":200,"ok":"\\ud800","data":[]}',
        '{"code":200,"data":[],"x":1e99999}',
        '{"code":200,"data":[],"x":%s.5}' % ("9" * 5_000),
    ],
)
def test_broken_values_beside_data_do_not_matter(body: str) -> None:
    """A response does not depend on how a field is written that is not needed."""
    response = parsed(body, endpoint=accounts.LIST)
    assert response.error is None
    assert response.value == ()


PAGE = "<!DOCTYPE html><title>502 Bad Gateway</title>"


@pytest.mark.parametrize(
    ("body", "status", "kind", "retryable"),
    [
        (PAGE, 200, ServiceUnavailableError, True),
        (" \n" + PAGE, 200, ServiceUnavailableError, True),
        ("Oops\n" + PAGE, 200, ServiceUnavailableError, True),
        ("1 < 2", 200, DecodeError, False),
        (PAGE, 301, ServiceUnavailableError, False),
        (PAGE, 400, ServiceUnavailableError, False),
        (PAGE, 403, ServiceUnavailableError, False),
        (PAGE, 404, ServiceUnavailableError, False),
        (PAGE, 408, ServiceUnavailableError, True),
        (PAGE, 429, ServiceUnavailableError, True),
        (PAGE, 502, ServiceUnavailableError, True),
        ("", 200, DecodeError, False),
        ("", 204, DecodeError, False),
        ("", 302, ServiceUnavailableError, False),
        ("", 400, APIError, False),
        ("", 401, AccessKeyError, False),
        ("", 403, PermissionDeniedError, False),
        ("error code 403", 403, PermissionDeniedError, False),
        ("", 404, APIError, False),
        ("", 405, APIError, False),
        ("404 page not found", 404, APIError, False),
        ("", 418, APIError, False),
        ("", 429, RateLimitedError, True),
        ("", 500, ServiceUnavailableError, True),
        ("upstream connect error", 503, ServiceUnavailableError, True),
        ("", 599, ServiceUnavailableError, True),
        ("[1,2]", 200, DecodeError, False),
        ("null", 200, DecodeError, False),
        ('"text"', 200, DecodeError, False),
        ("7", 200, DecodeError, False),
        ('{"status":"ok","data":[1,2', 200, DecodeError, False),
        ('{"status":"ok","data":1}{', 200, DecodeError, False),
        ('{"status":"ok","data":01}', 200, DecodeError, False),
        ("[" * 100_000, 200, DecodeError, False),
        ('{"a":' * 100_000, 200, DecodeError, False),
        ('{"status":"ok","data":' + "[" * 100_000, 200, DecodeError, False),
        ("[" * 100_000, 502, ServiceUnavailableError, True),
        (b"\xff\xfe\x00", 200, DecodeError, False),
        (b'{"status":"ok","data":"\xff"}', 200, DecodeError, False),
        (b"\x1f\x8b\x08\x00", 200, DecodeError, False),
        ('{"code":' + "9" * 5000 + "}", 200, DecodeError, False),
    ],
)
def test_body_that_is_not_an_envelope(
    body: bytes | str, status: int, kind: type[HTXError], retryable: bool
) -> None:
    """A page of another server, or a broken body: an error by its status, or a `DecodeError`."""
    error = error_of(body, status)
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.code is None


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("{}", "status"),
        ('{"data":1}', "status"),
        ('{"status":7,"data":1}', "status"),
        ('{"code":true,"data":1}', "code"),
        ('{"code":200.0,"data":1}', "code"),
        ('{"code":null,"data":1}', "code"),
        ('{"code":1000000000,"data":1}', "code"),
        ('{"status":"ok"}', "data"),
        ('{"code":200,"success":true}', "data"),
        ("[]", ""),
    ],
)
def test_malformed_envelope_has_a_path(body: str, path: str) -> None:
    """The error has the path, and an excerpt of the body."""
    error = error_of(body)
    assert type(error) is DecodeError
    assert error.path == path
    assert body in str(error)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ('{"status":"error"}', 200, "HTX returned an error."),
        ('{"status":"error","err-code":"x"}', 200, "HTX returned an error: x."),
        (
            '{"status":"error","err-code":"x","err-msg":"No.."}',
            200,
            "HTX returned an error: x: No.",
        ),
        ('{"code":7,"message":"No"}', 200, "HTX returned an error: 7: No."),
        ('{"code":7,"message":"No. "}', 400, "HTX returned an error: HTTP 400: 7: No."),
        ('{"code":7,"message":"No"}', 418, "HTX returned an error: HTTP 418: 7: No."),
        (
            '{"code":7,"message":"No"}',
            401,
            "HTX returned an error: HTTP 401: 7: No. Check both keys.",
        ),
        ('{"code":7,"message":"MAX."}', 200, "HTX returned an error: 7: MAX."),
        ("Oh.", 503, "HTX returned an error: HTTP 503: Oh. Try again a little later."),
        ("Oh.", 499, "HTX returned an error: HTTP 499: Oh."),
        ("", 499, "HTX returned an error: HTTP 499."),
    ],
)
def test_api_error_text(body: str, status: int, text: str) -> None:
    """Status, code and message of HTX in this order, one full stop, and the hint."""
    assert str(error_of(body, status)) == f"{ENDPOINT}: {text}"


@pytest.mark.parametrize(
    ("body", "what", "excerpt"),
    [
        ("{}", "`status` is missing or malformed", "{}"),
        ('{"code":200}', "`data` is missing or malformed", '{"code":200}'),
        ("[1]", "it is not a JSON object", "[1]"),
        ("", "it is not a JSON object", "(it is empty)"),
        (" ", "it is not a JSON object", "(it is empty)"),
    ],
)
def test_malformed_envelope_text(body: str, what: str, excerpt: str) -> None:
    """What is wrong, and how the body begins."""
    text = f"{ENDPOINT}: the response cannot be decoded: {what}. It begins: {excerpt}"
    assert str(error_of(body)) == text


def test_excerpt_may_end_inside_a_character() -> None:
    """The body is cut by bytes: half a character at the end is not a fault."""
    body = '{"x":"' + " " * 1993 + 'é"}'
    assert body.encode()[:2000].endswith(b"\xc3")
    assert 'It begins: {"x":"' in str(error_of(body))


def test_code_is_cut_earlier_than_message() -> None:
    """HTX's codes are short; longer text is not a code."""
    error = error_of(json.dumps({"status": "error", "err-code": "c" * 99, "err-msg": "m" * 199}))
    assert error.code == "c" * 79 + "…"
    assert error.message == "m" * 199


@pytest.mark.parametrize(
    ("text", "kind", "hint"),
    [
        ("Incorrect Access key [Access key错误]", AccessKeyError, "Check the access key"),
        ("Incorrect IP address [IP地址错误]:203.0.113.7", IPAddressError, "HTX saw 203.0.113.7."),
        ("Incorrect IP address [IP地址错误]: 2001:db8::7", IPAddressError, "HTX saw 2001:db8::7."),
        ("APIkey has expired", KeyExpiredError, "Make a new key"),
        ("API key has no permission [API Key没有权限]", PermissionDeniedError, "permission"),
        (
            "Invalid submission time or incorrect time format [无效的提交时间]",
            ClockError,
            "within a minute",
        ),
        ("Verification failure [校验失败]", SignatureError, "secret key"),
        ("something new", SignatureError, "secret key"),
    ],
)
def test_signature_code_is_told_apart_by_its_text(
    text: str, kind: type[HTXError], hint: str
) -> None:
    """`api-signature-not-valid` has six meanings; a hint says what to do."""
    message = f"Signature not valid: {text}"
    body = {"status": "error", "err-code": "api-signature-not-valid", "err-msg": message}
    error = error_of(json.dumps(body))
    assert type(error) is kind
    assert error.code == "api-signature-not-valid"
    assert error.message == message
    assert hint in str(error)
    assert not error.retryable


def test_account_that_does_not_exist() -> None:
    """Recorded: ids with thousands separators in the text."""
    text = "account for id `372,736,492` and user id `37,273,649` does not exist"
    code = "account-get-balance-account-inexistent-error"
    error = error_of(json.dumps({"status": "error", "err-code": code, "err-msg": text}))
    assert type(error) is AccountNotFoundError
    assert error.message == text
    assert "not the UID" in str(error)


UNSIGNED = Endpoint("/v1/common/timestamp", RateLimit(1, per=1.0), int, signed=False)
CLOUDFRONT = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN">
<HTML><HEAD><META HTTP-EQUIV="Content-Type" CONTENT="text/html; charset=iso-8859-1">
<TITLE>ERROR: The request could not be satisfied</TITLE><style>h1 { color: red }</style>
<script>if (1 < 2) alert("no")</script></HEAD><BODY><!-- a > comment -->
<H1>403 ERROR</H1><H2>The request could not be satisfied.</H2><HR noshade size="1px">
The Amazon CloudFront distribution is configured to block access from your country &amp; region.
</BODY></HTML>"""


@pytest.mark.parametrize("endpoint", [RAW, UNSIGNED], ids=["signed", "unsigned"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (CLOUDFRONT, "is configured to block access from your country & region."),
        ("\ufeff" + CLOUDFRONT, "is configured to block access from your country & region."),
        ("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
        ("error code: 1020", "error code: 1020"),
    ],
)
def test_block_of_a_cdn_has_one_hint_and_its_words(
    body: str, words: str, endpoint: Endpoint[Any]
) -> None:
    """No hint about keys or sub users contradicts it."""
    error = parsed(body, 403, endpoint).error
    assert type(error) is ServiceUnavailableError
    assert words in (error.message or "")
    assert not re.search(r"[<>{}]|alert|comment|color", error.message or "")
    hint = str(error).rpartition(words)[2]
    assert "A CDN blocks this address or region" in hint
    assert not re.search(r"sub user|\bkeys?\b|page of a proxy", hint)


@pytest.mark.parametrize("status", [200, 302, 403, 404, 429, 500, 503])
def test_text_of_a_page_has_at_most_500_characters(status: int) -> None:
    """Whatever its status, it is not a response of HTX."""
    error = error_of(f"<html><p>{'words ' * 9_000}</p></html>", status)
    assert type(error) is ServiceUnavailableError
    assert len(error.message or "") == 500


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429])
@pytest.mark.parametrize(
    "body", ["", "no", '{"status":"error","err-code":"login-required"}', '{"code":1006}']
)
def test_error_of_an_unsigned_request_has_no_hint_about_keys(body: str, status: int) -> None:
    """There was no key in it."""
    error = parsed(body, status, UNSIGNED).error
    assert error is not None
    assert "key" not in str(error)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"message":"Forbidden"}', 403, "Forbidden"),
        ('{"code":0,"msg":"illegal request"}', 200, "illegal request"),
        ('{"code":0,"msg":"illegal request"}', 403, "illegal request"),
        (
            '{"timestamp":1,"status":404,"error":"Not Found","message":"","path":"/x"}',
            404,
            "Not Found",
        ),
        ('{"title":"Gone","detail":"It has moved","status":410}', 410, "It has moved"),
        ('{"title":"Gone","status":410}', 410, "Gone"),
        ('{"errors":[7,{"code":1},{"message":"no"},{"message":"later"}]}', 400, "no"),
        ('{"status":"error","errors":[{"message":"no"}]}', 200, "no"),
        ('{"error":{"message":"nested"}}', 500, None),
        ('{"errors":{"message":"no"}}', 500, None),
        ('{"errors":[]}', 500, None),
        ('{"errors":[{"message":"\\ud800"}],"title":0}', 500, None),
        ('{"errors":[{"message":"no"}],"x":"%s"}' % ("x" * 70_000), 500, None),
    ],
)
def test_words_of_a_gateway_are_the_message(body: str, status: int, words: str | None) -> None:
    """Gateways have other names for the message than HTX."""
    error = error_of(body, status)
    assert isinstance(error, APIError)
    assert error.message == words
    assert (words or "") in str(error)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            '{"status":"error","err_code":403,"err_msg":"Incorrect Access key [Access key错误]"}',
            AccessKeyError,
        ),
        ('{"status":"error","err_code":1030,"err_msg":"Abnormal service."}', Unavailable),
        ('{"code":7,"errors":[{"message":"System is being maintained"}]}', Unavailable),
        ('{"status":"error","err_code":1032,"err_msg":"x"}', RateLimitedError),
        ('{"code":4000,"message":"too.many.request"}', RateLimitedError),
        ('{"status":"error","err-code":"x","err-msg":"is being maintained"}', Unavailable),
        (
            '{"status":"error","err-code":"api-signature-not-valid","err-msg":"ip地址错误"}',
            IPAddressError,
        ),
    ],
)
def test_error_of_futures_and_of_gateways_of_htx(body: str, kind: type[HTXError]) -> None:
    """HTTP 403 says less than the code in the body."""
    assert type(error_of(body)) is kind
    assert type(error_of(body, 403)) is kind


LARGE = 2**20
LARGE_ERRORS: list[tuple[bytes, type[HTXError], Any]] = [
    (b'{"status":"error","err-code":"login-required","err-msg":"%s"}', AccessKeyError, LOGIN),
    (b'{ "status" : "error","err-msg":"%s"}', APIError, None),
    (b'{"code":1006,"message":"%s"}', RateLimitedError, 1006),
    (b'{"code":"1006","message":"%s"}', RateLimitedError, 1006),
    (b"%s", DecodeError, None),
    (b"<html>%s</html>", ServiceUnavailableError, None),
]


@pytest.mark.parametrize(
    "filling", [b"x", b"Signature=", b"//", "错".encode(), b"\\u9519", b"\xff"]
)
@pytest.mark.parametrize(("body", "kind", "code"), LARGE_ERRORS, ids=lambda it: repr(it)[:30])
def test_long_error_text_is_cut_before_anything_else(
    body: bytes,
    kind: type[HTXError],
    code: Any,
    filling: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a decoder nor a regular expression sees all of it, which would block the loop."""
    lengths: list[int] = []
    for module, name in ((redaction, "redact"), (decoding, "load_json"), (re, "sub")):
        original = getattr(module, name)

        def record(*arguments: Any, _original: Callable[..., Any] = original) -> Any:
            lengths.append(max(len(text) for text in arguments if isinstance(text, str)))
            return _original(*arguments)

        monkeypatch.setattr(module, name, record)
    for name in ("is_utf8", "decode_as"):
        monkeypatch.setattr(decoding, name, None)
    error = error_of(body % (filling * (LARGE // len(filling))))
    assert type(error) is kind
    assert getattr(error, "code", None) == code
    assert max(lengths) <= redaction._PAGE_LENGTH


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":7,"data":{"x":"%s"},"message":"m"}',
        b'{"code":7,"x":[0],"message":"m","y":"%s\\"}',
        b'{"status":"error","err-code":7,"data":[["%s"]],"err-msg":"m"}',
    ],
)
def test_large_error_of_another_shape_is_decoded_completely(body: bytes) -> None:
    """What is large is not its text."""
    error = error_of(body % (b"x" * 100_000))
    assert (error.code, error.message) == (7, "m")


def test_large_body_that_is_not_utf8_is_not_searched_for_a_code() -> None:
    """Decoding it with replacements would take long."""
    body = b'{"data":"\xff%s","code":1006}'
    assert type(error_of(body % b"x")) is RateLimitedError
    assert type(error_of(body % (b"x" * LARGE))) is DecodeError


def test_date_header_of_any_length_is_parsed_at_once() -> None:
    """A long one is not a date."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert parsed('{"code":1006}', date=date).server_time is not None
    assert parsed('{"code":1006}', date=date + " " * 60_000).server_time is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 0.5 ", 0.5),
        ("0", 0.0),
        ("9999999", 9_999_999.0),
        ("-1", 0.0),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("3 s", None),
        ("9" * 16, None),
        ("٣", None),  # a digit that is not ASCII
    ],
)
@pytest.mark.parametrize("body", ["", '{"code":1006}'])
def test_retry_after_in_seconds(header: str, seconds: float | None, body: str) -> None:
    assert error_of(body, 429, retry_after=header).retry_after == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30.0),
        ("Wed Oct 21 07:28:30 2015", 30.0),
        ("Thu, 22 Oct 2015 07:28:00 GMT", 86_400.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 20155 07:28:00 GMT", None),
        ("2015-10-21T07:28:30Z", None),
        ("tomorrow", None),
    ],
)
@pytest.mark.parametrize("body", ["", '{"code":1006}', '{"code":1006,"ts":1}'])
def test_retry_after_as_date(header: str, seconds: float | None, body: str) -> None:
    """Relative to the response's date, whatever the local clock is."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert error_of(body, 429, retry_after=header, date=date).retry_after == seconds


@pytest.mark.parametrize("date", ["", "nonsense"])
async def test_retry_after_as_date_without_date_of_the_response(date: str) -> None:
    """Relative to HTX's time as the client knows it."""
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": date}

    async def send(_: Request) -> Response:
        return Response(429, headers, b"")

    parsing = EnvelopeParsing(send, server_now=lambda: HALF_PAST)
    error = (await parsing(Request(RAW, RAW.path))).error
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 29.5


@pytest.mark.parametrize("status", [200, 429, 503])
@pytest.mark.parametrize(
    "body",
    [
        "x" * 5_000,
        "<html>" + "x" * 5_000,
        "\x00\x1b[31m\r\n\t\u202e\u2028" * 50,
        " " * 5_000,
        json.dumps({"status": "error", "err-msg": "\x1b]0;" + "y\n" * 5_000}),
        json.dumps({"status": "error", "err-code": "c\x1b" * 5_000}),
        json.dumps({"code": "c" * 5_000, "message": "m" * 5_000}),
        json.dumps({"code": int("9" * 4_000)}),
    ],
)
def test_error_text_is_short_and_printable(body: str, status: int) -> None:
    """One line without control characters, some hundred characters at most."""
    error = error_of(body, status)
    for text in (str(error), str(error.message), str(error.code)):
        assert text.isprintable()
        assert len(text) < 800


def percent(secret: str) -> str:
    return quote(secret, safe="")


def lower_percent(secret: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), percent(secret))


ECHOES: dict[str, Callable[[str], str]] = {
    "raw": str,
    "percent": percent,
    "lower-case percent": lower_percent,
    "percent twice": lambda secret: percent(percent(secret)),
    "html": lambda secret: html.escape(secret).replace("+", "&#43;").replace("/", "&#x2F;"),
    "json": lambda secret: secret.replace("/", "\\/"),
    "json hex": lambda secret: secret.replace("/", "\\u002F").replace("+", "\\u002b"),
}
BODIES = {
    "page": "<html>You asked for %s</html>",
    "text": "no such thing: %s",
    "long text": "x" * 150 + "%s",
    "cut": '{"status":"error","err-msg":"%s',
    "v1 message": '{"status":"error","err-code":"x","err-msg":"got %s"}',
    "v1 code": '{"status":"error","err-code":"%s","err-msg":"x"}',
    "v2 message": '{"code":1003,"message":"got %s"}',
    "v2 code": '{"code":"%s","message":"x"}',
    "status": '{"status":["%s"]}',
    "no data": '{"status":"ok","echo":"%s"}',
}


@pytest.mark.parametrize("secret", [ACCESS_KEY, SIGNATURE], ids=["access key", "signature"])
@pytest.mark.parametrize("form", ECHOES)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", [200, 302, 403, 502])
def test_echoed_secret_is_redacted(secret: str, form: str, body: str, status: int) -> None:
    """Whatever a response repeats of the request, in any form, is in no error."""
    echoed = ECHOES[form](secret)
    error = error_of(BODIES[body] % echoed, status)
    visible = full_text(error)
    # The first half is enough to identify it; the text may have been cut.
    assert secret not in visible
    assert echoed not in visible
    assert secret[:12] not in visible
    if body in {"page", "text", "long text", "cut", "v1 message", "v2 message"}:
        assert "[hidden]" in str(error)


@pytest.mark.parametrize("form", ECHOES)
def test_echoed_signed_url_is_redacted(form: str) -> None:
    """A login page with the whole URL in its link, encoded once more."""
    url = ECHOES[form](f"https://api.huobi.pro/v1/account/accounts?{SENT_QUERY}")
    visible = full_text(error_of(f"<html><a href='{url}'>", 302))
    assert ACCESS_KEY not in visible
    assert SIGNATURE[:12] not in visible


@given(
    strategies.json_values.map(json.dumps).map(str.encode) | st.binary(max_size=60),
    st.integers(100, 699),
)
def test_any_body_has_a_value_or_an_error(body: bytes, status: int) -> None:
    """Any body is a value or one of our errors."""
    response = parsed(body, status)
    assert (response.error is None) != (response.value is None)
    assert response.error is None or isinstance(response.error, APIError | DecodeError)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("status", "code", "success", "ok", "message", "err-code", "err-msg", "data"),
            strategies.json_values,
        ),
    ),
    st.sampled_from([200, 200, 302, 403, 429, 500]),
)
def test_any_envelope_has_a_value_or_an_error(envelope: dict[str, Any], status: int) -> None:
    """Whatever is in the fields of an envelope, it is a value or one of our errors."""
    response = parsed(json.dumps(envelope), status)
    if response.error is None:
        assert json.loads(response.value) == envelope["data"]
        assert status == 200
    else:
        assert isinstance(response.error, APIError | DecodeError)
        assert str(response.error).isprintable()


@pytest.mark.parametrize(
    ("date", "body", "at"),
    [
        ("Wed, 21 Oct 2015 07:28:00 GMT", '{"code":1006}', HALF_PAST),
        ("Wed, 21 Oct 2015 09:28:00 +0200", '{"status":"ok","data":1}', HALF_PAST),
        ("Wed, 21 Oct 2015 07:28:00 GMT", '{"code":1006,"ts":1629715504949}', HALF_PAST),
        ("", '{"code":1006,"ts":1629715504949}', 1_629_715_504.949),
        ("nonsense", '{"code":1006,"ts":1629715504949}', 1_629_715_504.949),
        ("Mon, 99 Foo 2015 07:28:00 GMT", '{"code":1006}', None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", '{"code":1006}', None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", '{"code":1006,"ts":1629715504949}', 1_629_715_504.949),
        ("Fri, 31 Dec 9999 23:59:59 GMT", '{"status":"ok","data":1}', None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", '{"code":1006}', None),
        ("", '{"code":1006,"ts":1629715504}', None),
        ("", '{"code":1006,"ts":1629715504949.0}', None),
        ("", '{"code":1006,"ts":"1629715504949"}', None),
        ("", '{"code":1006,"ts":1' + "0" * 400 + "}", None),
        ("", '{"code":1006,"ts":null}', None),
        ("", '{"code":1006}', None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "<html>a proxy's clock</html>", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "", None),
    ],
)
def test_server_time(date: str, body: str, at: float | None) -> None:
    """From the `Date` header, else from `ts`; never from a page of another server."""
    assert parsed(body, date=date).server_time == at


@pytest.mark.parametrize(
    ("endpoint", "data", "message"),
    [
        (accounts.LIST, '[{"id":1}]', r"data\[0\]"),
        (RAW, '"\\ud800"', "it is not UTF-8 text, or a value cannot be represented"),
    ],
)
def test_server_time_of_malformed_data(endpoint: Endpoint[Any], data: str, message: str) -> None:
    """Data that cannot be decoded has a server time too."""
    response = parsed(f'{{"status":"ok","data":{data},"ts":1629715504949}}', endpoint=endpoint)
    assert isinstance(response.error, DecodeError)
    assert re.search(message, str(response.error))
    assert response.server_time == 1_629_715_504.949


@given(
    st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,20} [A-Z][a-z]{2} -?\d{1,20} [\d:]{0,9} \S*")
)
def test_server_time_of_any_date_header(date: str) -> None:
    """Whatever the header is, the response is parsed."""
    at = parsed('{"code":200,"data":7}', date=date).server_time
    assert at is None or isinstance(at, float)


async def test_parsing_reports_the_server_time() -> None:
    """Together with the time of the first byte; a response without a time is not reported."""
    observed: list[tuple[float, float]] = []
    date = {"date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    responses = iter(
        [
            Response(200, date, b'{"code":200,"data":7}', first_byte_at=3.0),
            Response(200, date, b'{"code":1006}', first_byte_at=4.0),
            Response(200, {}, b'{"code":1006}', first_byte_at=5.0),
            Response(200, date, b"", first_byte_at=6.0, error=DecodeError("too large")),
        ]
    )

    async def send(_: Request) -> Response:
        return next(responses)

    parsing = EnvelopeParsing(
        send, lambda server_time, first_byte_at: observed.append((server_time, first_byte_at))
    )
    for _ in range(4):
        await parsing(Request(Endpoint("/x", RateLimit(1, per=1.0), bytes), "/x"))
    assert observed == [(HALF_PAST, 3.0), (HALF_PAST, 4.0)]


@attrs.frozen
class FixedClock(Clock):
    """It is half past, and the monotonic clock is at 10 s."""

    def now(self) -> float:
        return HALF_PAST

    def monotonic(self) -> float:
        return 10.0


@pytest.mark.parametrize(
    ("endpoint", "data"),
    [
        (accounts.BALANCE, '{"id":1,"type":"spot","state":"working","list":[]}'),
        (points.BALANCE, '{"accountId":1,"accountStatus":"working","acctBalance":"1"}'),
    ],
)
async def test_received_at_is_the_time_of_the_first_byte(
    endpoint: Endpoint[Any], data: str
) -> None:
    """Also if it is decoded later. HTX's data cannot set it, and balances are equal without it."""
    body = f'{{"status":"ok","data":{data}}}'.replace("}}", ',"received_at":7}}').encode()

    async def send(_: Request) -> Response:
        return Response(200, {}, body, first_byte_at=7.5)

    request = Request(endpoint, "/x")
    stamped = (await EnvelopeParsing(send, clock=FixedClock())(request)).value
    assert stamped.received_at == datetime.fromtimestamp(HALF_PAST - 2.5, UTC)
    assert stamped.received_at.utcoffset() == timedelta(0)
    plain = (await EnvelopeParsing(send)(request)).value
    assert plain.received_at is None
    assert (plain == stamped, hash(plain) == hash(stamped)) == (True, True)


async def test_parsing_keeps_the_error_of_a_body_that_could_not_be_read() -> None:
    """It keeps that error, and the others are parsed."""
    broken = DecodeError("the body is larger than 1 bytes (max_body)")
    responses = iter(
        [
            Response(200, {}, b'{"code":200,"data":7}'),
            Response(200, {}, b"{}"),
            Response(200, {}, b"", error=broken),
        ]
    )

    async def send(request: Request) -> Response:
        assert request.path == "/x"
        return next(responses)

    parsing = EnvelopeParsing(send)
    request = Request(Endpoint("/{x}", RateLimit(1, per=1.0), bytes), "/x")
    assert (await parsing(request)).value == b"7"
    error = (await parsing(request)).error
    assert type(error) is DecodeError
    assert error.endpoint == "GET /{x}"
    assert (await parsing(request)).error is broken


def test_api_error_is_parsed_without_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data of another type does not lead to a second, slower decoding of the whole body."""
    monkeypatch.setattr(decoding, "load_json", None)
    body = '{"status":"error","err-code":"login-required","data":[1,2,3]}'
    error = parsed(body, endpoint=accounts.BALANCE).error
    assert isinstance(error, AccessKeyError)


@pytest.mark.parametrize("beside", ['"message":"\\ud800"', '"ts":' + "1" * 5_000])
def test_raw_data_is_not_blamed_for_other_fields(beside: str) -> None:
    error = parsed(f'{{"status":"ok","data":[1],{beside}}}').error
    assert isinstance(error, DecodeError)
    assert error.path == ""
