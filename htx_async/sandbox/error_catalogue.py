"""Every error body that HTX may send: documented, recorded, or known from other programs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from htx_async.sandbox import errors
from htx_async.sandbox.errors import ErrorSpec
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.response_faults import ErrorResponse, Page, RawErrorResponse

# Codes with one meaning. For many of them only the code is known, and the text is a guess.
_BY_CODE: Mapping[str | int, str] = {
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

# Codes whose meaning depends on the text.
_BY_CODE_AND_TEXT: tuple[tuple[str | int, str], ...] = (
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

_BY_NAME: Mapping[str, ErrorSpec] = {
    "api-signature-not-valid: Incorrect Access key": errors.WRONG_ACCESS_KEY,
    "api-signature-not-valid: Incorrect IP address": errors.wrong_ip("1.2.3.4"),
    "api-signature-not-valid: Verification failure": errors.WRONG_SIGNATURE,
    "api-signature-not-valid: Invalid submission time": errors.WRONG_TIME,
    "api-signature-not-valid: API key has no permission": errors.NO_PERMISSION,
    "api-signature-not-valid: APIkey has expired": errors.KEY_EXPIRED,
    **{str(code): ErrorSpec.same(code, text) for code, text in _BY_CODE.items()},
    **{f"{code}: {text}": ErrorSpec.same(code, text) for code, text in _BY_CODE_AND_TEXT},
    "OTC account inquiries are not supported": errors.OTC_NOT_SUPPORTED,
    "method-not-allowed": errors.METHOD_NOT_ALLOWED,
}

# Bodies of other shapes. The first two are recorded; of the third only the shape is known.
_BY_BODY: Mapping[str, Fault] = {
    "timeout, without data and with ts": RawErrorResponse(
        b'{"ts":1571653730865,"status":"error","err-code":"timeout","err-msg":"Request Timeout"}',
        "timeout",
    ),
    "1303, with success and print-log": RawErrorResponse(
        b'{"code":1303,"data":null,"message":"Each transfer-out cannot be less than 5USDT.",'
        b'"success":false,"print-log":true}',
        1303,
    ),
    "1030 of futures, with underscores": RawErrorResponse(
        b'{"status":"error","err_code":1030,"err_msg":"Abnormal service. Please try again later.",'
        b'"ts":1571653730865}',
        1030,
    ),
    "403 page": Page(403),
}

CATALOGUE: Mapping[str, Fault] = MappingProxyType(
    {**{name: ErrorResponse(spec) for name, spec in _BY_NAME.items()}, **_BY_BODY}
)

# HTX's page prints "nvalid.json". Which texts belong to 100, 400, 404 and 429 exactly is not known.
_OF_STREAMS: tuple[tuple[int, str], ...] = (
    (100, "time out close"),
    (400, "Bad Request"),
    (404, "Not Found"),
    (429, "Too Many Requests"),
    (500, "系统异常:"),
    (2000, "invalid.ip"),
    (2001, "invalid.json"),
    (2001, "invalid.action"),
    (2001, "invalid.symbol"),
    (2001, "invalid.ch"),
    (2001, "invalid.authType"),
    (2001, "missing.param.auth"),
    (2002, "invalid.auth.state"),
    (2002, "auth.fail"),
    (2003, "query.account.list.error"),
    (4000, "too.many.request"),
    (4000, "too.many.connection"),
)

STREAM_CATALOGUE: Mapping[str, Fault] = MappingProxyType(
    {f"{code}: {text}": ErrorResponse(ErrorSpec.same(code, text)) for code, text in _OF_STREAMS}
)
