"""
The table of causes: what an answer of HTX that says no means.

One row per cause: the code, a part of the text (in lower case, where the code alone does not
tell), the error, and the hint that its message ends with. The first row that fits counts.
What no row knows stays a plain `APIError` with its code and text.

Sources: [doc] HTX's pages; [sdk] what other clients of HTX treat it as; [rec] an answer that
somebody recorded; [inf] what follows from the others.
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
    """One row: what it is known by, what it means, what to do, and how we know."""

    codes: tuple[Code, ...]
    text: str
    error: type[APIError]
    retryable: bool
    hint: str
    source: str

    def fits(self, code: Code, text: str) -> bool:
        """Tell whether an answer with *code* and *text* (lower case) is of this kind."""
        return (not self.codes or code in self.codes) and self.text in text


_FINAL, _PASSES = False, True
"""Whether the same call may well succeed a little later."""

_SIGNATURE = ("api-signature-not-valid",)
_WAIT = "The limit counts all keys of one user together, other programs included."
_LATER = "Try again a little later."
_IP = "Add the address that this program has on the internet to the key, in HTX's API management."
_CLOCK = "Set this machine's clock by NTP: HTX allows a minute or a few."
_PAIR = "Check that the secret key belongs to this access key, and was pasted whole."
_NO_ACCOUNT = "An account id is wanted, which is not the UID: see accounts.list()."
_PARAMETER = "See the parameters on HTX's page of this endpoint."

# fmt: off
CAUSES: tuple[Cause, ...] = (
    # One code for six faults: the text tells them apart, its tail varies. [rec] issue threads
    Cause(_SIGNATURE, "incorrect access key", AccessKeyError, _FINAL,
          "Check the access key: it may be deleted, of another exchange, or cut.", "[rec]"),
    Cause(_SIGNATURE, "incorrect ip address", IPAddressError, _FINAL, _IP, "[rec]"),
    Cause(_SIGNATURE, "expired", KeyExpiredError, _FINAL,
          "Make a new key; one that is bound to an IP address does not expire.", "[sdk] HTX.Net"),
    Cause(_SIGNATURE, "no permission", PermissionDeniedError, _FINAL,
          "Give the key the permission that the endpoint needs, in HTX's API management.", "[rec]"),
    Cause(_SIGNATURE, "submission time", ClockError, _FINAL, _CLOCK, "[rec]"),
    Cause(_SIGNATURE, "time format", ClockError, _FINAL, _CLOCK, "[rec]"),
    Cause(_SIGNATURE, "", SignatureError, _FINAL, _PAIR, "[rec]"),
    Cause(("api-signature-check-failed",), "", SignatureError, _FINAL, _PAIR, "[sdk] ccxt"),
    Cause(("login-required",), "", AccessKeyError, _FINAL,
          "HTX did not find the key or the signature: check both keys.", "[doc]"),

    # Too many requests, in all the ways that HTX says it.
    Cause(("rate-too-many-requests", "base-request-exceed-frequency-limit",
           "too-many-requests", "too-many-request", "frequent-invoke"), "",
          RateLimitedError, _PASSES, _WAIT, "[sdk] ccxt; [doc]"),
    Cause(("bad-request",), "429 too many request", RateLimitedError, _PASSES, _WAIT,
          "[sdk] HTX.Net"),
    Cause(("invalid-parameter",), "request limit", RateLimitedError, _PASSES, _WAIT, "[sdk] ccxt"),
    Cause((1006, 40403, 510), "", RateLimitedError, _PASSES, _WAIT, "[doc]; [sdk] HTX.Net"),

    # HTX cannot, for now.
    Cause(("bad-request", "invalid-parameter"), "request timeout", ServiceUnavailableError, _PASSES,
          _LATER, "[sdk] HTX.Net"),
    Cause(("timeout", "base-request-timeout", "system-busy", "uc-network-error",
           "base-system-error", "base-record-invalid", 500), "",
          ServiceUnavailableError, _PASSES, _LATER, "[doc]; [sdk] ccxt"),
    Cause(("gateway-internal-error",), "", ServiceUnavailableError, _PASSES,
          "HTX's gateway had an error: try again a little later.", "[doc]"),
    Cause(("system-maintenance",), "", ServiceUnavailableError, _PASSES,
          "HTX is in maintenance: see its status page.", "[sdk] ccxt"),
    Cause((), "maintenance", ServiceUnavailableError, _PASSES,
          "HTX is in maintenance: see its status page.", "[sdk] ccxt"),

    # No such account.
    Cause(("account-get-balance-account-inexistent-error", "account-get-accounts-inexistent-error",
           "account-account-id-inexistent", "account-frozen-account-inexistent-error"), "",
          AccountNotFoundError, _FINAL, _NO_ACCOUNT, "[rec]; [doc]"),

    # v2 numbers: the same one means different things in different categories.
    Cause((1002,), "signature is missing", AccessKeyError, _FINAL,
          "HTX did not find the key or the signature: check both keys.", "[doc] orders"),
    Cause((1002,), "unauthorized", AccessKeyError, _FINAL,
          "HTX does not accept this key here: check both keys.", "[doc] wallet"),
    Cause((1002,), "", PermissionDeniedError, _FINAL,
          "This user may not do that, or the id belongs to somebody else.", "[doc] account"),
    Cause((1003,), "submission time", ClockError, _FINAL, _CLOCK, "[inf] as in v1"),
    Cause((1003,), "", SignatureError, _FINAL, _PAIR, "[doc] wallet; [rec]"),
    Cause((12004,), "", KeyExpiredError, _FINAL,
          "Make a new key; one that is bound to an IP address does not expire.", "[sdk] HTX.Net"),
    Cause((12005,), "", IPAddressError, _FINAL, _IP, "[sdk] HTX.Net"),
    Cause((12007, 12008), "", SignatureError, _FINAL,
          "The private key does not fit the public key that HTX has.", "[sdk] HTX.Net"),

    # May not.
    Cause(("base-operation-forbidden", "sub-user-auth-required", "api-not-support-temp-addr",
           "banned-by-blacklist"), "", PermissionDeniedError, _FINAL,
          "This key, or its user, may not do that.", "[doc]"),
    Cause(("method-not-allowed",), "", APIError, _FINAL,
          "There is no such path: it counts upper and lower case.", "[doc]"),

    # The request itself.
    Cause(("bad-request", "invalid-parameter", "require-account-id", "validation-format-error",
           "validation-constraints-required", "validation-constraints-error", "parameter-required",
           "base-argument-unsupported", "base-date-limit-error", 2002, 2003), "",
          APIError, _FINAL, _PARAMETER, "[doc]; [sdk] ccxt"),
)

# What a status means where the body tells nothing. [doc] HTX, "Request Format", FAQ; RFC 9110
STATUSES: tuple[tuple[range, type[APIError], bool, str], ...] = (
    (range(300, 400), ServiceUnavailableError, _FINAL,
     "A redirect, which is not followed: a proxy, a login page or a wrong base_url."),
    (range(401, 402), AccessKeyError, _FINAL, "Check both keys."),
    (range(403, 404), PermissionDeniedError, _FINAL,
     "HTX says so to the key of a sub user where only the parent may ask."),
    (range(404, 406), APIError, _FINAL,
     "There is no such path: it counts upper and lower case."),
    (range(408, 409), ServiceUnavailableError, _PASSES, _LATER),
    (range(429, 430), RateLimitedError, _PASSES, _WAIT),
    (range(400, 500), APIError, _FINAL, ""),
    (range(500, 600), ServiceUnavailableError, _PASSES, _LATER),
)
# fmt: on


def cause_of(code: Code, text: str) -> Cause | None:
    """Return the first row that fits an answer's code and text."""
    text = text.lower()
    return next((cause for cause in CAUSES if cause.fits(code, text)), None)
