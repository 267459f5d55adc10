"""Table of error codes: the exception of each code and HTTP status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    AccessKeyError,
    AccountNotFoundError,
    APIError,
    ClockError,
    IPAddressError,
    KeyExpiredError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
    SignatureError,
)
from htx_async.error_codes import CAUSES, HTTP_STATUS_ERRORS, Code, cause_of

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
    [("base-msg", "Anything"), (3011, ""), (None, ""), ("", ""), (-1, "x"), ("1006", "")],
)
def test_unknown_code_has_no_row(code: Code, text: str) -> None:
    """The error is a plain `APIError`."""
    assert cause_of(code, text) is None


def test_every_row_can_match() -> None:
    """Every row is the first that matches for some error."""
    for cause in CAUSES:
        errors = [(code, f"... {cause.text} ...") for code in cause.codes or ("unheard-of",)]
        assert all(cause_of(code, text) is cause for code, text in errors), cause


def test_every_row_has_a_hint_and_a_source() -> None:
    """Texts are in lower case, since they are compared so."""
    for cause in CAUSES:
        assert cause.text == cause.text.lower()
        assert cause.codes or cause.text
        assert cause.hint
        assert cause.source.startswith(("[doc]", "[sdk]", "[rec]", "[inf]"))
        assert issubclass(cause.error, APIError)


@given(st.none() | st.integers() | st.text(), st.text())
def test_row_of_any_error(code: Code, text: str) -> None:
    """A row that matches, or none; never an exception."""
    cause = cause_of(code, text)
    assert cause is None or cause.matches(code, text.lower())


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
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
    ],
)
def test_error_of_a_status(status: int, kind: type[APIError], retryable: bool) -> None:
    """The first row that contains the status counts."""
    row = next(row for row in HTTP_STATUS_ERRORS if status in row[0])
    assert row[1:3] == (kind, retryable)


def test_success_status_is_in_no_row() -> None:
    """A successful status is not an error."""
    assert not any(status in row[0] for row in HTTP_STATUS_ERRORS for status in range(100, 300))
