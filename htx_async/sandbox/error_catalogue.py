"""Every error body that HTX may send: documented, recorded, or known to other programs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from htx_async.sandbox import errors
from htx_async.sandbox.errors import Cause
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.response_faults import Body, Page, Refusal

_SIGNATURE = "api-signature-not-valid"

# Codes with one meaning. For many only the code is known: then the text is a guess.
_PLAIN: Mapping[str | int, str] = {
    "api-signature-check-failed": "Signature check failed",
    "login-required": errors.LOGIN_REQUIRED.message,
    "gateway-internal-error": "Failed to load data. Try again later.",
    "base-system-error": "System internel error, please try again later",
    "base-record-invalid": "Failed to get data, please try again later",
    "timeout": "Request Timeout",
    "base-request-timeout": "Request timeout",
    "system-busy": "System is busy",
    "uc-network-error": "Network error",
    "system-maintenance": "System is in maintenance!",
    "rate-too-many-requests": "exceeded rate limit",
    "base-request-exceed-frequency-limit": (
        "Frequency of requests has exceeded the limit, please try again later"
    ),
    "frequent-invoke": "the operation is too frequent. Please try again later",
    "too-many-requests": "too many requests",
    "too-many-request": "too many requests",
    "account-get-balance-account-inexistent-error": (
        "account for id `372,736,492` and user id `37,273,649` does not exist"
    ),
    "account-get-accounts-inexistent-error": "account does not exist",
    "account-account-id-inexistent": "account id does not exist",
    "account-frozen-account-inexistent-error": "account does not exist",
    "account-frozen-balance-insufficient-error": "balance is not enough",
    "require-account-id": "account-id is required",
    "validation-format-error": "Format Error: order-id.",
    "validation-constraints-required": "Field is missing: account-id.",
    "validation-constraints-error": "Field is invalid: account-id.",
    "base-date-limit-error": "date is out of range",
    "base-argument-unsupported": "unsupported argument",
    "parameter-required": "parameter is required",
    "base-operation-forbidden": "Operation is forbidden",
    "sub-user-auth-required": "sub user authorization is required",
    "api-not-support-temp-addr": "API does not support temporary addresses",
    "banned-by-blacklist": "banned by blacklist",
    "base-msg": "Customized error, check error message",
    "dw-insufficient-balance": "Insufficient balance",
    "dw-account-transfer-unavailable": "account transfer unavailable",
    "dw-account-transfer-error": "account transfer error",
    "dw-account-transfer-failed": "Failed to transfer",
    "dw-account-transfer-failed-account-abnormality": "Account abnormality, failed to transfer",
    "base-currency-error": "currency is invalid",
    "account-transfer-balance-insufficient-error": "account balance is insufficient",
    "invalid-address": "invalid address",
    "order-update-error": "order update error",
    403: "forbidden",
    500: "system error",
    510: "too many requests",
    1001: "Request URL is invalid",
    1006: "Exceed rate limit",
    1007: "Record is not found",
    1010: "account is not enabled",
    1047: "insufficient balance",
    1048: "insufficient balance",
    1220: "account is not enabled",
    2014: "",
    2016: "",
    3011: "Verification failure",
    4007: "bad request",
    12004: "APIkey has expired",
    12005: "Incorrect IP address",
    12007: "Incorrect public key",
    12008: "Verification failed",
    40401: "Deduction is unavailable for sub-accounts.",
    40402: "Deduction currency cannot be empty",
    40403: "Too many requests.",
    40404: "Point Cards are unavailable in the current country or region.",
    40405: "The crypto is unavailable for deduction.",
    40406: "User's Point Card balance is zero.",
    40407: "Invalid deduction type.",
    40408: "Duplicate request. Please try again later",
}

# Codes that mean what their text says.
_AMBIGUOUS: tuple[tuple[str | int, str], ...] = (
    ("bad-request", "invalid parameter"),
    ("bad-request", "429 too many request"),
    ("bad-request", "request timeout"),
    ("invalid-parameter", "invalid parameter"),
    ("invalid-parameter", "request timeout"),
    ("invalid-parameter", "request limit"),
    (1002, "forbidden"),
    (1002, "unauthorized"),
    (1002, "Signature is missing or account id doesn't exist"),
    (1003, "invalid signature"),
    (1003, "unauthorized"),
    (1003, "Signature is wrong"),
    (2002, "invalid field value in `currency`"),
    (2002, "value in `fromId` is not found in record"),
    (2002, "value in `startTime` exceeded valid range"),
    (2002, "value in `endTime` exceeded valid range"),
    (2003, "missing mandatory field `currency`"),
    (2003, "Trading is disabled"),
)

_SIGNATURE_CAUSES = {
    "Incorrect Access key": errors.WRONG_ACCESS_KEY,
    "Incorrect IP address": errors.wrong_ip("1.2.3.4"),
    "Verification failure": errors.WRONG_SIGNATURE,
    "Invalid submission time": errors.WRONG_TIME,
    "API key has no permission": errors.NO_PERMISSION,
    "APIkey has expired": errors.EXPIRED,
}

# In shapes of their own. The first two are recorded; of the third only the shape is known.
_SHAPED: Mapping[str, Fault] = {
    "timeout, without data and with ts": Body(
        b'{"ts":1571653730865,"status":"error","err-code":"timeout","err-msg":"Request Timeout"}',
        "timeout",
    ),
    "1303, with success and print-log": Body(
        b'{"code":1303,"data":null,"message":"Each transfer-out cannot be less than 5USDT.",'
        b'"success":false,"print-log":true}',
        1303,
    ),
    "1030 of futures, with underscores": Body(
        b'{"status":"error","err_code":1030,"err_msg":"Abnormal service. Please try again later.",'
        b'"ts":1571653730865}',
        1030,
    ),
    "OTC account inquiries are not supported": Refusal(errors.OTC),
    "method-not-allowed": Refusal(errors.NO_SUCH_PATH),
    "403 page": Page(403),
}


def refused(code: str | int, message: str, status: int = 200) -> Refusal:
    """Return the refusal with this code and message on paths of both versions."""
    return Refusal(Cause(code, message, code, message, status))


def _catalogue() -> Mapping[str, Fault]:
    plain = {str(code): refused(code, text) for code, text in _PLAIN.items()}
    ambiguous = {f"{code}: {text}": refused(code, text) for code, text in _AMBIGUOUS}
    signature = {f"{_SIGNATURE}: {why}": Refusal(each) for why, each in _SIGNATURE_CAUSES.items()}
    return MappingProxyType({**signature, **plain, **ambiguous, **_SHAPED})


CATALOGUE = _catalogue()
