"""Table of error codes: the exception of each code and HTTP status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    AccessKeyError,
    AccountNotFoundError,
    APIError,
    AuthenticationError,
    ClockError,
    IPAddressError,
    KeyExpiredError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
    SignatureError,
)
from htx_async.error_codes import CAUSES, Cause, Code, cause_of

NOT_VALID = "api-signature-not-valid"


@pytest.mark.parametrize(
    ("code", "text", "kind", "retryable"),
    [
        (NOT_VALID, "Signature not valid: Incorrect Access key [..]", AccessKeyError, False),
        (NOT_VALID, "Signature not valid: INCORRECT IP ADDRESS", IPAddressError, False),
        (NOT_VALID, "APIkey has expired", KeyExpiredError, False),
        (NOT_VALID, "API key has no permission", PermissionDeniedError, False),
        (NOT_VALID, "Invalid submission time or incorrect time format", ClockError, False),
        (NOT_VALID, "incorrect time format", ClockError, False),
        (NOT_VALID, "Verification failure [校验失败]", SignatureError, False),
        (NOT_VALID, "", SignatureError, False),
        (NOT_VALID, "Signature not valid: ip地址错误", IPAddressError, False),
        (NOT_VALID, "API签名无效: Access key错误", AccessKeyError, False),
        (NOT_VALID, "API Key已过期", KeyExpiredError, False),
        (NOT_VALID, "API Key没有权限", PermissionDeniedError, False),
        (NOT_VALID, "Signature not valid: 无效的提交时间", ClockError, False),
        (NOT_VALID, "Signature not valid: 提交时间格式错误", ClockError, False),
        (NOT_VALID, "API签名无效: 校验失败", SignatureError, False),
        (403, "Incorrect Access key [Access key错误]", AccessKeyError, False),
        (403, "Incorrect IP address [IP地址错误]", IPAddressError, False),
        (403, "Verification failure [校验失败]", SignatureError, False),
        (2003, "Incorrect Access key [Access key错误]", AccessKeyError, False),
        (2003, "校验失败", SignatureError, False),
        ("api-signature-check-failed", "", SignatureError, False),
        ("login-required", "", AccessKeyError, False),
        ("rate-too-many-requests", "", RateLimitedError, True),
        ("base-request-exceed-frequency-limit", "", RateLimitedError, True),
        ("too-many-requests", "", RateLimitedError, True),
        ("too-many-request", "", RateLimitedError, True),
        ("frequent-invoke", "Rate limit is 10/min", RateLimitedError, True),
        ("bad-request", "429 Too Many Requests", RateLimitedError, True),
        ("bad-request", "request timeout", ServiceUnavailableError, True),
        ("bad-request", "what", APIError, False),
        ("invalid-parameter", "request limit", RateLimitedError, True),
        ("invalid-parameter", "Request Timeout", ServiceUnavailableError, True),
        ("invalid-parameter", "what", APIError, False),
        (1006, "Exceed rate limit", RateLimitedError, True),
        (40403, "", RateLimitedError, True),
        (510, "", RateLimitedError, True),
        (1032, "The number of access exceeded the limit.", RateLimitedError, True),
        (4000, "too.many.request", RateLimitedError, True),
        (1030, "Abnormal service. Please try again later.", ServiceUnavailableError, True),
        ("timeout", "Request Timeout", ServiceUnavailableError, True),
        ("base-request-timeout", "", ServiceUnavailableError, True),
        ("system-busy", "", ServiceUnavailableError, True),
        ("uc-network-error", "", ServiceUnavailableError, True),
        ("base-system-error", "", ServiceUnavailableError, True),
        ("base-record-invalid", "", ServiceUnavailableError, True),
        (500, "system error", ServiceUnavailableError, True),
        ("gateway-internal-error", "", ServiceUnavailableError, True),
        ("system-maintenance", "", ServiceUnavailableError, True),
        ("unheard-of", "System is in Maintenance!", ServiceUnavailableError, True),
        (None, "in maintenance", ServiceUnavailableError, True),
        ("unheard-of", "The system is being maintained", ServiceUnavailableError, True),
        ("account-get-balance-account-inexistent-error", "", AccountNotFoundError, False),
        ("account-get-accounts-inexistent-error", "", AccountNotFoundError, False),
        ("account-account-id-inexistent", "", AccountNotFoundError, False),
        ("account-frozen-account-inexistent-error", "", AccountNotFoundError, False),
        (1002, "Signature is missing or account id doesn't exist", AccessKeyError, False),
        (1002, "unauthorized", AccessKeyError, False),
        (1002, "forbidden", PermissionDeniedError, False),
        (1003, "invalid signature", SignatureError, False),
        (12004, "", KeyExpiredError, False),
        (12005, "", IPAddressError, False),
        (12007, "", SignatureError, False),
        (12008, "", SignatureError, False),
        (2000, "invalid.ip", IPAddressError, False),
        (2002, "auth.fail", AuthenticationError, False),
        (2002, "invalid.auth.state", AuthenticationError, False),
        ("base-operation-forbidden", "", PermissionDeniedError, False),
        ("sub-user-auth-required", "", PermissionDeniedError, False),
        ("api-not-support-temp-addr", "", PermissionDeniedError, False),
        ("banned-by-blacklist", "", PermissionDeniedError, False),
        ("method-not-allowed", "", APIError, False),
        ("require-account-id", "", APIError, False),
        ("validation-format-error", "", APIError, False),
        ("validation-constraints-required", "", APIError, False),
        ("validation-constraints-error", "", APIError, False),
        ("parameter-required", "", APIError, False),
        ("base-argument-unsupported", "", APIError, False),
        ("base-date-limit-error", "", APIError, False),
        (2002, "invalid field value in `accountId`", APIError, False),
        (2003, "", APIError, False),
    ],
)
def test_error_of_a_code(code: Code, text: str, kind: type[APIError], retryable: bool) -> None:
    """The error, and whether the same call may succeed a little later."""
    cause = cause_of(code, text)
    assert cause is not None
    assert (cause.error, cause.retryable) == (kind, retryable)
    assert cause.hint.endswith(".")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("base-msg", "Anything"),
        (3011, ""),
        (None, ""),
        ("", ""),
        (-1, "x"),
        ("1006", ""),
        (403, "x"),
    ],
)
def test_unknown_code_has_no_row(code: Code, text: str) -> None:
    """The error is a plain `APIError`."""
    assert cause_of(code, text) is None


def status_of(cause: Cause) -> int:
    """Return a status that the row matches."""
    return cause.statuses[0] if cause.statuses else 200


def test_every_row_can_match() -> None:
    """Every row is the first that matches for some error."""
    for cause in CAUSES:
        errors = [(code, text) for code in cause.codes or ("unheard-of",) for text in cause.texts]
        for code, text in errors or [(code, "") for code in cause.codes or (None,)]:
            matching = cause_of(code, f"... {text} ...", status_of(cause), is_page=cause.is_page)
            assert matching is cause


def test_every_row_has_a_hint_and_a_source() -> None:
    """Texts are in lower case, since they are compared so."""
    for cause in CAUSES:
        assert all(text and text == text.lower() for text in cause.texts)
        assert cause.codes or cause.texts or cause.statuses or cause.is_page
        assert cause.hint.endswith(".")
        assert cause.source.startswith(("[doc]", "[sdk]", "[rec]", "[inf]"))
        assert issubclass(cause.error, APIError)


def test_hint_for_an_unsigned_request_is_not_about_keys() -> None:
    """It was sent without one."""
    for cause in CAUSES:
        assert "key" not in cause.hint_for(signed=False)
        assert cause.hint_for(signed=True) == cause.hint


@given(st.none() | st.integers() | st.text(), st.text())
def test_row_of_any_error(code: Code, text: str) -> None:
    """A row that matches, or none; never an exception."""
    cause = cause_of(code, text)
    assert cause is None or cause.matches(code, text.lower(), 200, is_page=False)


STATUSES: list[tuple[int, type[APIError], bool]] = [
    (300, ServiceUnavailableError, False),
    (399, ServiceUnavailableError, False),
    (400, APIError, False),
    (401, AccessKeyError, False),
    (402, APIError, False),
    (403, PermissionDeniedError, False),
    (404, APIError, False),
    (405, APIError, False),
    (406, APIError, False),
    (408, ServiceUnavailableError, True),
    (429, RateLimitedError, True),
    (499, APIError, False),
    (500, ServiceUnavailableError, True),
    (599, ServiceUnavailableError, True),
]


@pytest.mark.parametrize(("status", "kind", "retryable"), STATUSES)
@pytest.mark.parametrize("code", [None, "unheard-of", 0])
def test_error_of_a_status(code: Code, status: int, kind: type[APIError], retryable: bool) -> None:
    """The status decides where the code is not known."""
    cause = cause_of(code, "", status)
    if cause is None:
        assert (kind, retryable) == (APIError, False)
    else:
        assert (cause.error, cause.retryable) == (kind, retryable)


@pytest.mark.parametrize("status", range(200, 600))
def test_page_of_any_status_is_service_unavailable(status: int) -> None:
    """Whatever it says; a block is permanent, an overload is not."""
    cause = cause_of(None, "access key", status, is_page=True)
    assert cause is not None
    assert cause.error is ServiceUnavailableError
    is_permanent = 300 <= status < 500 and status not in {408, 429}
    assert cause.retryable is not is_permanent
    assert ("blocks this address" in cause.hint) == (status in {403, 451})


@pytest.mark.parametrize("status", [400, 403, 429])
def test_cloudflare_error_as_plain_text(status: int) -> None:
    """It is a block of the address, except that 429 is always a rate limit."""
    cause = cause_of(None, "error code: 1020", status)
    assert cause is not None
    assert cause.error is (RateLimitedError if status == 429 else ServiceUnavailableError)


@pytest.mark.parametrize("status", range(100, 300))
def test_success_status_is_in_no_row(status: int) -> None:
    """A successful status is not an error."""
    assert cause_of(None, "", status) is None
