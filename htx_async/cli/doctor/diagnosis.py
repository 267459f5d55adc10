"""What the doctor concludes: pure rules from what was seen to a verdict and an advice."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import Any, Final, cast

import attrs

from htx_async.auth.credentials import Credentials
from htx_async.cli.doctor.finding import Finding, Verdict
from htx_async.clock import MAX_UNCORRECTED_SKEW
from htx_async.error_codes import STATUSES, cause_of
from htx_async.errors import (
    APIError,
    AuthenticationError,
    ConnectError,
    HTXError,
    InvalidInputError,
    IPAddressError,
    PermissionDeniedError,
)
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.redaction import mask_key, one_line, redact
from htx_async.validation import Origin

DAY: Final = 86_400.0
SOON: Final = 14
"""Days before the end of a key or a certificate at which somebody should be told: two weeks are
time enough to make a new one, and few enough not to be forgotten again."""

_MANAGEMENT = "in HTX's API management"
_MAY_WITHDRAW = "withdraw"
_HALF = 0.5


def misused(step: str, error: InvalidInputError, advice: str) -> Finding:
    """Return that a setting cannot be right."""
    return Finding(step, Verdict.MISUSED, str(error), advice)


def settings(credentials: Credentials, origin: Origin) -> Finding:
    """Return which key is used, and who is asked. Of the key four characters are shown."""
    shown = mask_key(credentials.auth_params()[0][1])
    kind = {"HmacSHA256": "HMAC-SHA256"}.get(
        credentials.signature_method, credentials.signature_method
    )
    return Finding("settings", Verdict.OK, f"{kind} key {shown} for {origin}")


def proxy(url: str | None, origin: Origin) -> Finding:
    """Return which way requests go."""
    if url is not None:
        return Finding("proxy", Verdict.OK, f"requests go through {redact(url)}")
    why = ": this machine is never asked through one" if origin.is_loopback else ""
    return Finding("proxy", Verdict.OK, f"none{why}")


def name(host: str, addresses: Sequence[str], took: float) -> Finding:
    """Return what the name server said."""
    if addresses == [host]:
        return Finding("name", Verdict.OK, f"{host} is an address: nothing to look up")
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return Finding("name", Verdict.OK, f"{host} is {addresses[0]}{more}, {_ms(took)}")


def no_name(host: str, error: OSError) -> Finding:
    """Return that there is no such host."""
    advice = "Check HTX_BASE_URL, the network and the name server of this machine."
    says = f"{host} has no address: {_of_system(error)}"
    return Finding("name", Verdict.FAILED, says, advice)


def connection(where: str, took: float) -> Finding:
    """Return that a connection came about."""
    return Finding("connection", Verdict.OK, f"to {where}, {_ms(took)}")


def no_connection(where: str, error: OSError) -> Finding:
    """Return that none came about."""
    advice = "Check whether it is up, and may be reached: firewall, proxy, VPN."
    return Finding("connection", Verdict.FAILED, f"none to {where}: {_of_system(error)}", advice)


def tls(version: str, ends: float, now: float) -> Finding:
    """Return how connections are protected; the certificate *ends* (seconds since 1970)."""
    days = int((ends - now) // DAY)
    says = f"{version}, certificate good for {_days(days)}"
    if days > SOON:
        return Finding("TLS", Verdict.OK, says)
    return Finding("TLS", Verdict.WARNED, says, "HTX has to renew it: see its status page.")


def unprotected() -> Finding:
    """Return that there is no TLS, and need be none."""
    return Finding("TLS", Verdict.OK, "none: what is asked is on this machine")


def through_proxy() -> Finding:
    """Return that the proxy is between: who is at its other end only an answer shows."""
    return Finding("TLS", Verdict.UNKNOWN, "made through the proxy: if HTX answers, it is trusted")


def no_tls(error: ssl.SSLError) -> Finding:
    """Return that the other side could not prove who it is, or does not speak TLS at all."""
    why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        says = f"not trusted: {why}"
        advice = "Something on the way opens TLS, or SSL_CERT_FILE must name its issuer."
    else:
        says = f"none: {why.lower().replace('_', ' ')}"
        advice = "No TLS, or another, is spoken there or on the way: check HTX_BASE_URL."
    return Finding("TLS", Verdict.FAILED, one_line(says), advice)


def answer(took: float) -> Finding:
    """Return that HTX answers."""
    return Finding("answer", Verdict.OK, f"HTX answers in {_ms(took)}")


def no_answer(error: HTXError) -> Finding:
    """Return that it does not."""
    return _failed("answer", error)


def clock(offset: float, uncertain: float) -> Finding:
    """Return by how much the local clock is off: HTX's is *offset* seconds ahead."""
    off = abs(offset)
    says = f"right to {max(off, uncertain):.1g} s"
    if off - uncertain <= 1.0:
        return Finding("clock", Verdict.OK, says)
    way = "behind" if offset > 0 else "ahead of"
    says = f"{_span(off)} {way} HTX's, give or take {uncertain:.2g} s"
    if off <= MAX_UNCORRECTED_SKEW:
        return Finding("clock", Verdict.OK, says, "Set it by NTP before it gets worse.")
    advice = "Set it by NTP: corrected here, but other programs are refused."
    return Finding("clock", Verdict.WARNED, says, advice)


@attrs.frozen
class Told:
    """
    What HTX tells of a key.

    Attributes:
        permission: HTX's words, such as `readOnly,trade`.
        addresses: Who may use it; "": anybody.
        valid_days: Days until it expires; -1: never; `None`: not told.
    """

    permission: str
    addresses: str
    valid_days: int | None


def told(rows: Any, access_key: str) -> Told | None:
    """Return what the answer of `GET /v2/user/api-key` says of this key; `None`: nothing."""
    found = [row for row in _dicts(rows) if row.get("accessKey") == access_key]
    if not found:
        return None
    days = found[0].get("validDays")
    permission, addresses = (
        one_line(str(found[0].get(field) or "")) for field in ("permission", "ipAddresses")
    )
    return Told(permission, addresses, days if isinstance(days, int) else None)


def _dicts(rows: object) -> list[dict[str, Any]]:
    listed = cast("list[object]", rows) if isinstance(rows, list) else []
    return [cast("dict[str, Any]", row) for row in listed if isinstance(row, dict)]


def of_key(error: HTXError | None, told: Told | None, accounts: int) -> tuple[Finding, ...]:
    """Return what a signed read says of the key, its permission and its addresses."""
    if error is None:
        return _key(told, accounts), _permission(told), _addresses(told)
    known = Finding("key", Verdict.OK, "HTX knows it")
    if isinstance(error, IPAddressError):
        untried = Finding("permission", Verdict.UNKNOWN, "not told: see address")
        return known, untried, _failed("address", error)
    if isinstance(error, PermissionDeniedError):
        here = Finding("address", Verdict.OK, "HTX takes requests from here")
        return known, _failed("permission", error), here
    return (_failed("key", error),)


def _key(told: Told | None, accounts: int) -> Finding:
    says = f"works: it has read {accounts} account{'s' * (accounts != 1)}"
    if told is None or told.valid_days is None or told.valid_days < 0:
        return Finding("key", Verdict.OK, says)
    says = f"{says}, and expires in {_days(told.valid_days)}"
    if told.valid_days > SOON:
        return Finding("key", Verdict.OK, says)
    return Finding("key", Verdict.WARNED, says, f"Make a new one {_MANAGEMENT}.")


def _permission(told: Told | None) -> Finding:
    if told is None or not told.permission:
        says = "it may read; what else it may, HTX did not tell"
        return Finding("permission", Verdict.OK, says)
    if _MAY_WITHDRAW not in told.permission:
        return Finding("permission", Verdict.OK, told.permission)
    advice = "Reading takes Read-only: whoever gets this key can empty the account."
    return Finding("permission", Verdict.WARNED, told.permission, advice)


def _addresses(told: Told | None) -> Finding:
    if told is None:
        says = "HTX takes requests from here; from where else, it did not tell"
        return Finding("address", Verdict.OK, says)
    if told.addresses:
        return Finding("address", Verdict.OK, f"bound to {told.addresses}")
    advice = f"Bind it to this machine's address {_MANAGEMENT}."
    return Finding("address", Verdict.OK, "bound to none: the key works from anywhere", advice)


def limits(status: RateLimitStatus) -> Finding:
    """Return whether HTX tells how much is left, and whether others use it up."""
    limit, left = status.limit.requests, status.remaining
    if left is None:
        advice = "Something on the way may remove it; limits are kept all the same."
        return Finding("limits", Verdict.UNKNOWN, "HTX did not tell how much is left", advice)
    says = f"HTX tells them: {left} of {limit} reads are left for {status.limit.per:g} s"
    if left >= limit * _HALF:
        return Finding("limits", Verdict.OK, says)
    advice = "Other programs ask with keys of this user: HTX counts all of them."
    return Finding("limits", Verdict.WARNED, says, advice)


_ADVICE: tuple[tuple[type[HTXError], str], ...] = (
    (InvalidInputError, "Mend the setting that it names."),
    (ConnectError, "Nothing has reached HTX: check network, proxy and firewall."),
    (AuthenticationError, f"Look at the key {_MANAGEMENT}."),
    (APIError, "Try again a little later; see HTX's status page."),
    (HTXError, "Try again; with --debug it tells what happens on the way."),
)


def _failed(step: str, error: HTXError) -> Finding:
    if not isinstance(error, APIError):
        return Finding(step, Verdict.FAILED, str(error.args[0]), _advice(error))
    hint = _hint(error) or _advice(error)
    if error.code is None:
        says = f"HTTP {error.http_status} and no answer of HTX's API"
        return Finding(step, Verdict.FAILED, says, hint)
    return Finding(step, Verdict.FAILED, f"HTX said: {error.message or error.code}", hint)


def _advice(error: HTXError) -> str:
    return next(words for kind, words in _ADVICE if isinstance(error, kind))


def _hint(error: APIError) -> str:
    """Return what the tables of causes say to do."""
    cause = cause_of(error.code, error.message or "")
    if cause is not None:
        return cause.hint
    hints = (hint for statuses, *_, hint in STATUSES if error.http_status in statuses)
    return next(hints, "")


def _of_system(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if error.errno is not None and error.errno > 0:  # asyncio puts it into its own words
        return os.strerror(error.errno)
    return one_line(error.strerror or str(error))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _days(days: int) -> str:
    return f"{days} day{'s' * (days != 1)}"


def _span(seconds: float) -> str:
    units = ((DAY, "days"), (3600.0, "hours"), (60.0, "minutes"))
    size, word = next(((size, word) for size, word in units if seconds >= 2 * size), (1.0, "s"))
    return f"{seconds / size:.3g} {word}"
