"""
Table of HTX's errors: the exception and the hint for each cause.

One row per cause: the codes, parts of the message (in lower case, where the code alone is
ambiguous; HTX sends English, Chinese or both), the exception, and the hint that ends its text. The
first row that matches counts. Rows without codes and texts are for an HTTP status, or for a page
(HTML) that is not a response of HTX's API. An error that no row matches is a plain `APIError` with
its code and message.

Sources: [doc] HTX's pages; [sdk] what other clients of HTX treat it as; [rec] a recorded response;
[inf] inferred from the others.
"""

from __future__ import annotations

import msgspec

from htx_async.errors import (
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

Code = str | int | None


class Cause(msgspec.Struct, frozen=True):
    """
    One row. Empty codes, texts and statuses match any.

    Attributes:
        codes: HTX's codes.
        texts: Parts of the message, in lower case: one of them is enough.
        error: The exception.
        retryable: Whether the same call may succeed a little later.
        hint: The end of the exception's text: what to do.
        source: Where it is documented or was recorded.
        statuses: HTTP statuses.
        is_page: Whether the body is HTML; otherwise it is not.
    """

    codes: tuple[Code, ...]
    texts: tuple[str, ...]
    error: type[APIError]
    retryable: bool
    hint: str
    source: str
    statuses: tuple[int, ...] | range = ()
    is_page: bool = False

    def matches(self, code: Code, text: str, status: int, *, is_page: bool) -> bool:
        """Return whether an error with *code* and *text* (lower case) is of this kind."""
        return (
            is_page == self.is_page
            and (not self.codes or code in self.codes)
            and (not self.statuses or status in self.statuses)
            and (not self.texts or any(part in text for part in self.texts))
        )

    def hint_for(self, *, signed: bool) -> str:
        """Return the hint; one about keys does not help if the request was not *signed*."""
        if signed or not issubclass(self.error, AuthenticationError | RateLimitedError):
            return self.hint
        return _HINT_UNSIGNED if issubclass(self.error, AuthenticationError) else _HINT_IP_LIMIT


FATAL, RETRYABLE = False, True
"""Whether the same call may succeed a little later."""

# Futures hosts write 403, and 2003 at their WebSocket, for the faults of a signature.
# [rec] HuobiRDCenter/huobi_Java#43, hbdmapi/huobi_futures_Python#5 and #6
_SIGNATURE = ("api-signature-not-valid", 403, 2003)
_HINT_LIMIT = "The limit counts all keys of one user together, other programs included."
_HINT_IP_LIMIT = "Requests without a signature count by IP address, other programs included."
_HINT_UNSIGNED = "The request was not signed, and HTX requires authentication here."
_HINT_RETRY = "Try again a little later."
_HINT_MAINTENANCE = "HTX is in maintenance: see its status page."
_HINT_IP = (
    "Add the address that this program has on the internet to the key, in HTX's API management."
)
_HINT_EXPIRED = "Make a new key; one that is bound to an IP address does not expire."
_HINT_CLOCK = "HTX accepts a request within a minute or a few of its time."
_HINT_KEY_PAIR = "Check that the secret key belongs to this access key, and was pasted whole."
_HINT_NO_KEY = "HTX did not find the key or the signature: check both keys."
_HINT_ACCOUNT = "Pass an account id, which is not the UID: list the accounts to see their ids."
_HINT_PARAMETER = "See the parameters on HTX's page of this endpoint."
_HINT_BLOCKED = (
    "A CDN blocks this address or region before HTX sees the request: use another network."
)
_HINT_PAGE = "That is a page of a proxy, a CDN or a login, not HTX's API."
_HINT_REDIRECT = "A redirect, which is not followed: a proxy, a login page or a wrong base URL."
_HINT_PATH = "There is no such path; paths are case-sensitive."

# fmt: off
CAUSES: tuple[Cause, ...] = (
    # HTML, whatever its status. [rec] ccxt#11873 (Cloudflare, 403), ccxt#1289
    Cause((), (), ServiceUnavailableError, FATAL, _HINT_REDIRECT, "[inf] RFC 9110",
          range(300, 400), is_page=True),
    Cause((), (), ServiceUnavailableError, FATAL, _HINT_BLOCKED, "[rec] ccxt#11873; RFC 7725",
          (403, 451), is_page=True),
    Cause((), (), ServiceUnavailableError, RETRYABLE, f"{_HINT_PAGE} {_HINT_RETRY}",
          "[inf] RFC 9110", (408, 429), is_page=True),
    Cause((), (), ServiceUnavailableError, FATAL, _HINT_PAGE, "[inf]", range(400, 500),
          is_page=True),
    Cause((), (), ServiceUnavailableError, RETRYABLE, f"{_HINT_PAGE} {_HINT_RETRY}",
          "[rec] issue threads", is_page=True),

    # The status decides, whatever the code.
    Cause((), (), RateLimitedError, RETRYABLE, _HINT_LIMIT, "[sdk] ccxt, HTX.Net", (429,)),

    # What Cloudflare writes as plain text to a client that does not accept HTML: "error code: 1020"
    Cause((None,), ("error code: 10",), ServiceUnavailableError, FATAL, _HINT_BLOCKED,
          "[inf] Cloudflare, 1xxx errors", range(400, 500)),

    # One code for six faults: the text distinguishes them, its tail varies, and the English part
    # may be missing. [rec] huobiapi/API_Docs#80 and #100, huobiapi/REST-API-demos#4 and #9,
    # ccxt#1485
    Cause(_SIGNATURE, ("incorrect access key", "access key错误"), AccessKeyError, FATAL,
          "Check the access key: it may be deleted, of another exchange, or cut.", "[rec]"),
    Cause(_SIGNATURE, ("incorrect ip address", "ip地址错误"), IPAddressError, FATAL, _HINT_IP,
          "[rec]"),
    Cause(_SIGNATURE, ("expired", "过期"), KeyExpiredError, FATAL, _HINT_EXPIRED,
          "[sdk] HTX.Net; [inf] Chinese"),
    Cause(_SIGNATURE, ("no permission", "没有权限"), PermissionDeniedError, FATAL,
          "Give the key the permission that the endpoint needs, in HTX's API management.", "[rec]"),
    Cause(_SIGNATURE, ("submission time", "time format", "无效的提交时间", "时间格式错误"),
          ClockError, FATAL, _HINT_CLOCK, "[rec]"),
    Cause((403, 2003), ("verification failure", "校验失败"), SignatureError, FATAL, _HINT_KEY_PAIR,
          "[rec] huobi_Java#43"),
    Cause(("api-signature-not-valid",), (), SignatureError, FATAL, _HINT_KEY_PAIR, "[rec]"),
    Cause(("api-signature-check-failed",), (), SignatureError, FATAL, _HINT_KEY_PAIR,
          "[sdk] ccxt"),
    Cause(("login-required",), (), AccessKeyError, FATAL, _HINT_NO_KEY, "[doc]"),

    # Too many requests: HTX has many codes for it.
    Cause(("rate-too-many-requests", "base-request-exceed-frequency-limit",
           "too-many-requests", "too-many-request", "frequent-invoke"), (),
          RateLimitedError, RETRYABLE, _HINT_LIMIT, "[sdk] ccxt; [doc]"),
    Cause(("bad-request",), ("429 too many request",), RateLimitedError, RETRYABLE, _HINT_LIMIT,
          "[sdk] HTX.Net"),
    Cause(("invalid-parameter",), ("request limit",), RateLimitedError, RETRYABLE, _HINT_LIMIT,
          "[sdk] ccxt"),
    Cause((1006, 40403, 510), (), RateLimitedError, RETRYABLE, _HINT_LIMIT,
          "[doc]; [sdk] HTX.Net"),
    Cause((1032,), (), RateLimitedError, RETRYABLE, _HINT_LIMIT,
          "[rec] vnpy#2830, futures; [sdk] HTX.Net"),
    Cause((4000,), (), RateLimitedError, RETRYABLE, _HINT_LIMIT,
          "[doc] WebSocket, too.many.request; [sdk] HTX.Net"),

    # Temporarily unavailable.
    Cause(("bad-request", "invalid-parameter"), ("request timeout",), ServiceUnavailableError,
          RETRYABLE, _HINT_RETRY, "[sdk] HTX.Net"),
    Cause(("timeout", "base-request-timeout", "system-busy", "uc-network-error",
           "base-system-error", "base-record-invalid", 500), (),
          ServiceUnavailableError, RETRYABLE, _HINT_RETRY, "[doc]; [sdk] ccxt"),
    Cause((1030,), (), ServiceUnavailableError, RETRYABLE,
          "Try again a little later. If it stays, a parameter is wrong.",
          "[rec] ccxt#14348, hbdmapi/huobi_usdt_swap_Java#3"),
    Cause(("gateway-internal-error",), (), ServiceUnavailableError, RETRYABLE,
          "HTX's gateway had an error: try again a little later.", "[doc]"),
    Cause(("system-maintenance",), (), ServiceUnavailableError, RETRYABLE, _HINT_MAINTENANCE,
          "[sdk] ccxt"),
    Cause((), ("maintenance", "being maintained"), ServiceUnavailableError, RETRYABLE,
          _HINT_MAINTENANCE, "[sdk] ccxt, which searches for `maintain` (ccxt#7210)"),

    # No such account.
    Cause(("account-get-balance-account-inexistent-error", "account-get-accounts-inexistent-error",
           "account-account-id-inexistent", "account-frozen-account-inexistent-error"), (),
          AccountNotFoundError, FATAL, _HINT_ACCOUNT, "[rec]; [doc]"),

    # Codes of v2: the same one has different meanings in different categories of endpoints.
    Cause((1002,), ("signature is missing",), AccessKeyError, FATAL, _HINT_NO_KEY, "[doc] orders"),
    Cause((1002,), ("unauthorized",), AccessKeyError, FATAL,
          "HTX does not accept this key here: check both keys.", "[doc] wallet"),
    Cause((1002,), (), PermissionDeniedError, FATAL,
          "This user may not do that, or the id belongs to somebody else.", "[doc] account"),
    Cause((1003,), ("submission time",), ClockError, FATAL, _HINT_CLOCK, "[inf] as in v1"),
    Cause((1003,), (), SignatureError, FATAL, _HINT_KEY_PAIR, "[doc] wallet; [rec]"),
    Cause((12004,), (), KeyExpiredError, FATAL, _HINT_EXPIRED, "[sdk] HTX.Net"),
    Cause((12005,), (), IPAddressError, FATAL, _HINT_IP, "[sdk] HTX.Net"),
    Cause((12007, 12008), (), SignatureError, FATAL,
          "The private key does not fit the public key that HTX has.", "[sdk] HTX.Net"),
    Cause((2000,), ("invalid.ip",), IPAddressError, FATAL, _HINT_IP,
          "[doc] WebSocket; [sdk] HTX.Net"),
    Cause((2002,), ("auth.fail", "invalid.auth.state"), AuthenticationError, FATAL,
          "Check both keys, and that this program's address is bound to the key.",
          "[doc] WebSocket; [sdk] HTX.Net"),

    # Not permitted.
    Cause(("base-operation-forbidden", "sub-user-auth-required", "api-not-support-temp-addr",
           "banned-by-blacklist"), (), PermissionDeniedError, FATAL,
          "This key, or its user, may not do that.", "[doc]"),
    Cause(("method-not-allowed",), (), APIError, FATAL, _HINT_PATH, "[doc]"),

    # The request itself.
    Cause(("bad-request", "invalid-parameter", "require-account-id", "validation-format-error",
           "validation-constraints-required", "validation-constraints-error", "parameter-required",
           "base-argument-unsupported", "base-date-limit-error", 2002, 2003), (),
          APIError, FATAL, _HINT_PARAMETER, "[doc]; [sdk] ccxt"),

    # By HTTP status, where no code is known.
    Cause((), (), ServiceUnavailableError, FATAL, _HINT_REDIRECT, "[inf] RFC 9110",
          range(300, 400)),
    Cause((), (), AccessKeyError, FATAL, "Check both keys.", "[inf] RFC 9110", (401,)),
    Cause((), (), PermissionDeniedError, FATAL,
          "HTX returns this to the key of a sub user where only its parent user is permitted.",
          "[doc] FAQ; [rec] huobi_Python#88", (403,)),
    Cause((), (), APIError, FATAL, _HINT_PATH, "[doc] FAQ", (404, 405)),
    Cause((), (), ServiceUnavailableError, RETRYABLE, _HINT_RETRY, "[inf] RFC 9110", (408,)),
    Cause((), (), ServiceUnavailableError, RETRYABLE, _HINT_RETRY, "[rec] issue threads",
          range(500, 600)),
)
# fmt: on


def cause_of(code: Code, text: str, status: int = 200, *, is_page: bool = False) -> Cause | None:
    """Return the first row that matches an error: its code, text and HTTP status."""
    text = text.lower()
    return next(
        (cause for cause in CAUSES if cause.matches(code, text, status, is_page=is_page)), None
    )
