"""
API errors of the sandbox.

HTX has two envelopes: v1 paths return `status`, `err-code` and `err-msg`, v2 paths return `code`
and `message`. Business errors have the HTTP status 200.
"""

from __future__ import annotations

import attrs

_SIGNATURE = "api-signature-not-valid"


@attrs.frozen
class ErrorSpec:
    """An API error in both envelopes; *status* is the HTTP status."""

    code: str | int
    message: str
    v2_code: str | int
    v2_message: str
    status: int = 200

    @classmethod
    def same(cls, code: str | int, message: str, status: int = 200) -> ErrorSpec:
        """Return the API error with the same code and message in both envelopes."""
        return cls(code, message, code, message, status)


class APIError(Exception):
    """Raised to return an API error as the response."""

    def __init__(self, spec: ErrorSpec) -> None:
        super().__init__(spec.code)
        self.spec = spec


def _signature(reason: str) -> ErrorSpec:
    # v2: a recorded response to a wrong signature is {"code":1003,"message":"invalid signature"}.
    # That other causes in the signature have the same response is a guess.
    return ErrorSpec(_SIGNATURE, f"Signature not valid: {reason}", 1003, "invalid signature")


WRONG_ACCESS_KEY = _signature("Incorrect Access key [Access key错误]")
WRONG_SIGNATURE = _signature("Verification failure [校验失败]")
WRONG_TIME = _signature(
    "Invalid submission time or incorrect time format [无效的提交时间，或时间格式错误]"
)

# v1: the documentation; v2: a guess, nothing is documented or recorded.
LOGIN_REQUIRED = ErrorSpec(
    "login-required",
    "Signature is missing, or user not find (key and uid not match)",
    1003,
    "invalid signature",
)

# v1: as users reported it; v2: 12004 and 12005 are known from tables of other programs only.
KEY_EXPIRED = ErrorSpec(
    _SIGNATURE, "Signature not valid: APIkey has expired", 12004, "APIkey has expired"
)
NO_PERMISSION = ErrorSpec(
    _SIGNATURE,
    "Signature not valid: API key has no permission [API Key没有权限]",
    1002,
    "forbidden",
)

# Documented: HTTP status 405 and this code, for a wrong path; the text is not known.
METHOD_NOT_ALLOWED = ErrorSpec(
    "method-not-allowed", "Request method not supported", 1001, "", status=405
)

# HTX does not document the error for excess in this category. The v1 code and text are in tables
# of other programs, code 1006 is documented for conditional orders, clients expect HTTP 429.
RATE_LIMITED = ErrorSpec(
    "rate-too-many-requests", "exceeded rate limit", 1006, "Exceed rate limit", status=429
)

# v2: documented for the account category, both code and text.
FORBIDDEN = ErrorSpec("base-operation-forbidden", "Operation is forbidden", 1002, "forbidden")

# The text is documented, the error code is not.
OTC_NOT_SUPPORTED = ErrorSpec(
    "base-argument-unsupported",
    "OTC account inquiries are not supported.",
    500,
    "system error",
)


def wrong_ip(address: str) -> ErrorSpec:
    """Return the error for a key that is bound to other addresses than *address*."""
    reason = f"Signature not valid: Incorrect IP address [IP地址错误]:{address}"
    return ErrorSpec(_SIGNATURE, reason, 12005, "Incorrect IP address")


def malformed(field: str) -> ErrorSpec:
    """Return the error for a value of *field* that does not have the documented form."""
    message, v2_message = f"Format Error: {field}.", f"invalid field value in `{field}`"
    return ErrorSpec("validation-format-error", message, 2002, v2_message)


def missing(field: str) -> ErrorSpec:
    """Return the error for a request without *field*."""
    message, v2_message = f"Field is missing: {field}.", f"missing mandatory field `{field}`"
    return ErrorSpec("validation-constraints-required", message, 2003, v2_message)


def out_of_range(field: str) -> ErrorSpec:
    """Return the error for a time in *field* that is too old, too new, or too far from another."""
    # v2: documented for the account category. v1: the code is documented, for orders.
    v2_message = f"value in `{field}` exceeded valid range"
    return ErrorSpec("base-date-limit-error", "date is out of range", 2002, v2_message)


def no_such_record(field: str) -> ErrorSpec:
    """Return the error for an id in *field* with which no page begins."""
    v2_message = f"value in `{field}` is not found in record"
    return ErrorSpec(
        "validation-constraints-error", f"Field is invalid: {field}.", 2002, v2_message
    )


def no_such_account(account_id: int, uid: int) -> ErrorSpec:
    """Return the error for an account that *uid* does not own, with thousands separators."""
    message = f"account for id `{account_id:,}` and user id `{uid:,}` does not exist"
    return ErrorSpec("account-get-balance-account-inexistent-error", message, 1002, "forbidden")
