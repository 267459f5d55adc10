"""
The ways in which HTX says no.

HTX has two envelopes: v1 paths answer with `status`, `err-code` and `err-msg`, v2 paths with
`code` and `message`. Business errors come with HTTP status 200.
"""

from __future__ import annotations

from typing import Any

import attrs

_SIGNATURE = "api-signature-not-valid"


@attrs.frozen
class Cause:
    """A reason to refuse, in the words of both envelopes; *status* is the HTTP status."""

    code: str | int
    message: str
    v2_code: str | int
    v2_message: str
    status: int = 200

    def body(self, version: int) -> dict[str, Any]:
        """Return the envelope for a path of *version* 1 or 2."""
        if version == 1:
            v1 = {"status": "error", "err-code": self.code, "err-msg": self.message}
            return {**v1, "data": None}
        return {"code": self.v2_code, "message": self.v2_message}

    def code_in(self, version: int) -> str | int:
        """Return the error code that a path of *version* 1 or 2 answers."""
        return self.code if version == 1 else self.v2_code


class APIError(Exception):
    """A request that is answered with an error."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.code)
        self.cause = cause


def _signature(why: str) -> Cause:
    # v2: a recorded answer to a wrong signature is {"code":1003,"message":"invalid signature"}.
    # That other causes in the signature are answered alike is a guess.
    return Cause(_SIGNATURE, f"Signature not valid: {why}", 1003, "invalid signature")


WRONG_ACCESS_KEY = _signature("Incorrect Access key [Access key错误]")
WRONG_SIGNATURE = _signature("Verification failure [校验失败]")
WRONG_TIME = _signature(
    "Invalid submission time or incorrect time format [无效的提交时间，或时间格式错误]"  # noqa: RUF001
)

# v1: the documentation; v2: a guess, nothing is documented or recorded.
LOGIN_REQUIRED = Cause(
    "login-required",
    "Signature is missing, or user not find (key and uid not match)",
    1003,
    "invalid signature",
)

# v1: as users reported it; v2: 12004 and 12005 are known from other programs' tables only.
EXPIRED = Cause(_SIGNATURE, "Signature not valid: APIkey has expired", 12004, "APIkey has expired")
NO_PERMISSION = Cause(
    _SIGNATURE,
    "Signature not valid: API key has no permission [API Key没有权限]",
    1002,
    "forbidden",
)


def wrong_ip(address: str) -> Cause:
    """Say that the key is bound to other addresses than *address*, and name that."""
    why = f"Signature not valid: Incorrect IP address [IP地址错误]:{address}"
    return Cause(_SIGNATURE, why, 12005, "Incorrect IP address")


# Documented: HTTP status 405 and this code, for a wrong path; the text is not known.
NO_SUCH_PATH = Cause("method-not-allowed", "Request method not supported", 1001, "", 405)

# No document says what excess looks like in this category. The v1 words are in other programs'
# tables, code 1006 is documented for conditional orders, HTTP 429 is what clients expect.
TOO_MANY = Cause("rate-too-many-requests", "exceeded rate limit", 1006, "Exceed rate limit", 429)

# v2: documented for the account category, both code and text.
FORBIDDEN = Cause("base-operation-forbidden", "Operation is forbidden", 1002, "forbidden")

# "OTC account inquiries are not supported." is documented, its error code is not.
OTC = Cause(
    "base-argument-unsupported",
    "OTC account inquiries are not supported.",
    500,
    "system error",
)


def malformed(field: str) -> Cause:
    """Say that the value of *field* is not of the form that HTX expects."""
    return Cause(
        "validation-format-error",
        f"Format Error: {field}.",
        2002,
        f"invalid field value in `{field}`",
    )


def no_such_account(account_id: int, uid: int) -> Cause:
    """Say that *uid* has no account of that id; HTX prints both with thousands separators."""
    return Cause(
        "account-get-balance-account-inexistent-error",
        f"account for id `{account_id:,}` and user id `{uid:,}` does not exist",
        1002,
        "forbidden",
    )
