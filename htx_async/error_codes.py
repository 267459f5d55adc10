"""
Table of HTX's error codes: the exception and the hint for each.

One row per cause: the codes, a part of the message (in lower case, where the code alone is
ambiguous), the exception, and the hint that ends its text. The first row that matches counts.
An error that no row matches is a plain `APIError` with its code and message.

Sources: [doc] HTX's pages; [sdk] what other clients of HTX treat it as; [rec] a recorded response;
[inf] inferred from the others.
"""

from __future__ import annotations

import msgspec

from htx_async.errors import (
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

Code = str | int | None


class Cause(msgspec.Struct, frozen=True):
    """One row: codes and part of the message, exception, hint and source."""

    codes: tuple[Code, ...]
    text: str
    error: type[APIError]
    retryable: bool
    hint: str
    source: str

    def matches(self, code: Code, text: str) -> bool:
        """Return whether an error with *code* and *text* (lower case) is of this kind."""
        return (not self.codes or code in self.codes) and self.text in text


FATAL, RETRYABLE = False, True
"""Whether the same call may succeed a little later."""

_SIGNATURE = ("api-signature-not-valid",)
_HINT_LIMIT = "The limit counts all keys of one user together, other programs included."
_HINT_RETRY = "Try again a little later."
_HINT_IP = (
    "Add the address that this program has on the internet to the key, in HTX's API management."
)
_HINT_CLOCK = "Set this machine's clock by NTP: HTX allows a minute or a few."
_HINT_KEY_PAIR = "Check that the secret key belongs to this access key, and was pasted whole."
_HINT_ACCOUNT = "Pass an account id, which is not the UID: see accounts.list()."
_HINT_PARAMETER = "See the parameters on HTX's page of this endpoint."

# fmt: off
CAUSES: tuple[Cause, ...] = (
    # One code for six faults: the text tells them apart, its tail varies. [rec] issue threads
    Cause(_SIGNATURE, "incorrect access key", AccessKeyError, FATAL,
          "Check the access key: it may be deleted, of another exchange, or cut.", "[rec]"),
    Cause(_SIGNATURE, "incorrect ip address", IPAddressError, FATAL, _HINT_IP, "[rec]"),
    Cause(_SIGNATURE, "expired", KeyExpiredError, FATAL,
          "Make a new key; one that is bound to an IP address does not expire.", "[sdk] HTX.Net"),
    Cause(_SIGNATURE, "no permission", PermissionDeniedError, FATAL,
          "Give the key the permission that the endpoint needs, in HTX's API management.", "[rec]"),
    Cause(_SIGNATURE, "submission time", ClockError, FATAL, _HINT_CLOCK, "[rec]"),
    Cause(_SIGNATURE, "time format", ClockError, FATAL, _HINT_CLOCK, "[rec]"),
    Cause(_SIGNATURE, "", SignatureError, FATAL, _HINT_KEY_PAIR, "[rec]"),
    Cause(("api-signature-check-failed",), "", SignatureError, FATAL, _HINT_KEY_PAIR, "[sdk] ccxt"),
    Cause(("login-required",), "", AccessKeyError, FATAL,
          "HTX did not find the key or the signature: check both keys.", "[doc]"),

    # Too many requests: HTX has many codes for it.
    Cause(("rate-too-many-requests", "base-request-exceed-frequency-limit",
           "too-many-requests", "too-many-request", "frequent-invoke"), "",
          RateLimitedError, RETRYABLE, _HINT_LIMIT, "[sdk] ccxt; [doc]"),
    Cause(("bad-request",), "429 too many request", RateLimitedError, RETRYABLE, _HINT_LIMIT,
          "[sdk] HTX.Net"),
    Cause(("invalid-parameter",), "request limit", RateLimitedError, RETRYABLE, _HINT_LIMIT,
          "[sdk] ccxt"),
    Cause((1006, 40403, 510), "", RateLimitedError, RETRYABLE, _HINT_LIMIT, "[doc]; [sdk] HTX.Net"),

    # Temporarily unavailable.
    Cause(("bad-request", "invalid-parameter"), "request timeout", ServiceUnavailableError,
          RETRYABLE, _HINT_RETRY, "[sdk] HTX.Net"),
    Cause(("timeout", "base-request-timeout", "system-busy", "uc-network-error",
           "base-system-error", "base-record-invalid", 500), "",
          ServiceUnavailableError, RETRYABLE, _HINT_RETRY, "[doc]; [sdk] ccxt"),
    Cause(("gateway-internal-error",), "", ServiceUnavailableError, RETRYABLE,
          "HTX's gateway had an error: try again a little later.", "[doc]"),
    Cause(("system-maintenance",), "", ServiceUnavailableError, RETRYABLE,
          "HTX is in maintenance: see its status page.", "[sdk] ccxt"),
    Cause((), "maintenance", ServiceUnavailableError, RETRYABLE,
          "HTX is in maintenance: see its status page.", "[sdk] ccxt"),

    # No such account.
    Cause(("account-get-balance-account-inexistent-error", "account-get-accounts-inexistent-error",
           "account-account-id-inexistent", "account-frozen-account-inexistent-error"), "",
          AccountNotFoundError, FATAL, _HINT_ACCOUNT, "[rec]; [doc]"),

    # Codes of v2: the same one has different meanings in different categories of endpoints.
    Cause((1002,), "signature is missing", AccessKeyError, FATAL,
          "HTX did not find the key or the signature: check both keys.", "[doc] orders"),
    Cause((1002,), "unauthorized", AccessKeyError, FATAL,
          "HTX does not accept this key here: check both keys.", "[doc] wallet"),
    Cause((1002,), "", PermissionDeniedError, FATAL,
          "This user may not do that, or the id belongs to somebody else.", "[doc] account"),
    Cause((1003,), "submission time", ClockError, FATAL, _HINT_CLOCK, "[inf] as in v1"),
    Cause((1003,), "", SignatureError, FATAL, _HINT_KEY_PAIR, "[doc] wallet; [rec]"),
    Cause((12004,), "", KeyExpiredError, FATAL,
          "Make a new key; one that is bound to an IP address does not expire.", "[sdk] HTX.Net"),
    Cause((12005,), "", IPAddressError, FATAL, _HINT_IP, "[sdk] HTX.Net"),
    Cause((12007, 12008), "", SignatureError, FATAL,
          "The private key does not fit the public key that HTX has.", "[sdk] HTX.Net"),

    # Not permitted.
    Cause(("base-operation-forbidden", "sub-user-auth-required", "api-not-support-temp-addr",
           "banned-by-blacklist"), "", PermissionDeniedError, FATAL,
          "This key, or its user, may not do that.", "[doc]"),
    Cause(("method-not-allowed",), "", APIError, FATAL,
          "There is no such path; paths are case-sensitive.", "[doc]"),

    # The request itself.
    Cause(("bad-request", "invalid-parameter", "require-account-id", "validation-format-error",
           "validation-constraints-required", "validation-constraints-error", "parameter-required",
           "base-argument-unsupported", "base-date-limit-error", 2002, 2003), "",
          APIError, FATAL, _HINT_PARAMETER, "[doc]; [sdk] ccxt"),
)

# Errors by HTTP status, where no code is known. [doc] HTX, "Request Format", FAQ; RFC 9110
HTTP_STATUS_ERRORS: tuple[tuple[range, type[APIError], bool, str], ...] = (
    (range(300, 400), ServiceUnavailableError, FATAL,
     "A redirect, which is not followed: a proxy, a login page or a wrong base_url."),
    (range(401, 402), AccessKeyError, FATAL, "Check both keys."),
    (range(403, 404), PermissionDeniedError, FATAL,
     "HTX returns this to the key of a sub user where only its parent user is permitted."),
    (range(404, 406), APIError, FATAL,
     "There is no such path; paths are case-sensitive."),
    (range(408, 409), ServiceUnavailableError, RETRYABLE, _HINT_RETRY),
    (range(429, 430), RateLimitedError, RETRYABLE, _HINT_LIMIT),
    (range(400, 500), APIError, FATAL, ""),
    (range(500, 600), ServiceUnavailableError, RETRYABLE, _HINT_RETRY),
)
# fmt: on


def cause_of(code: Code, text: str) -> Cause | None:
    """Return the first row that matches the code and text of an error."""
    text = text.lower()
    return next((cause for cause in CAUSES if cause.matches(code, text)), None)
