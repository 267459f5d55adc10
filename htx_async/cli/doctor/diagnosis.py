"""Rules of `htx-async doctor`: from an observation to a verdict and its advice, without I/O."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import Final

from htx_async import (
    APIError,
    APIKeyInfo,
    AuthenticationError,
    ConnectError,
    Credentials,
    HTXError,
    InvalidInputError,
    IPAddressError,
    Permission,
    PermissionDeniedError,
    RateLimitStatus,
    ServiceUnavailableError,
)
from htx_async.cli.doctor.finding import Finding, Verdict
from htx_async.cli.messages import without_python
from htx_async.clock import MAX_UNCORRECTED_SKEW
from htx_async.error_codes import cause_of
from htx_async.redaction import mask_key, one_line
from htx_async.transports.environment import Proxy
from htx_async.validation import Origin

DAY: Final = 86_400.0
EXPIRES_SOON: Final = 14
"""Days before a key or certificate expires from which the doctor warns: enough to replace it, and
too few to forget about it again."""

_NO_PROXY = "none (not used for loopback)"
_API_MANAGEMENT = "in HTX's API management"
_LOW = 0.5
"""Fraction of the rate limit: less can only remain after one call if other programs make calls."""


def bad_setting(step: str, error: InvalidInputError, advice: str) -> Finding:
    """Return the finding for a setting that is not valid."""
    return Finding(step, Verdict.BAD_SETTING, without_python(error), advice)


def settings(credentials: Credentials, origin: Origin) -> Finding:
    """Return which key is used for which host; the key is masked but for four characters."""
    key = mask_key(credentials.auth_params()[0][1])
    method = credentials.signature_method.replace("Hmac", "HMAC-")
    return Finding("settings", Verdict.OK, f"{method} key {key} for {origin}")


def proxy(used: Proxy | None, origin: Origin) -> Finding:
    """Return which proxy is used."""
    if used is not None:
        return Finding("proxy", Verdict.OK, f"through {used} ({used.setting})")
    return Finding("proxy", Verdict.OK, _NO_PROXY if origin.is_loopback else "none")


def dns(host: str, addresses: Sequence[str], elapsed: float) -> Finding:
    """Return the IP addresses of *host*."""
    if addresses == [host]:
        return Finding("DNS", Verdict.OK, f"{host} is an IP address: no lookup needed")
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return Finding("DNS", Verdict.OK, f"{host} is {addresses[0]}{more}, {ms(elapsed)}")


def dns_failed(host: str, error: OSError | UnicodeError) -> Finding:
    """Return the finding for a host without an IP address."""
    advice = "Check HTX_BASE_URL, the network and the DNS server of this machine."
    return Finding("DNS", Verdict.FAILED, f"cannot resolve {host}: {_os_message(error)}", advice)


def connection(target: str, elapsed: float) -> Finding:
    """Return the finding for a connection that was established."""
    return Finding("connection", Verdict.OK, f"to {target}, {ms(elapsed)}")


def connection_failed(target: str, error: OSError) -> Finding:
    """Return the finding for a connection that was not established."""
    advice = "Check that the host is up and reachable: firewall, proxy, VPN."
    message = f"could not connect to {target}: {_os_message(error)}"
    return Finding("connection", Verdict.FAILED, message, advice)


def tls(version: str, expiry: float, now: float) -> Finding:
    """Return the TLS version and the validity of the certificate. Times: seconds since 1970."""
    days = int((expiry - now) // DAY)
    message = f"{version}, certificate valid for {_count(days, 'day')}"
    if days > EXPIRES_SOON:
        return Finding("TLS", Verdict.OK, message)
    return Finding("TLS", Verdict.WARNING, message, "HTX must renew it: see its status page.")


def tls_failed(error: ssl.SSLError) -> Finding:
    """Return the finding for a certificate that is not trusted, or a failed handshake."""
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"certificate not trusted: {reason}"
        advice = "If a proxy intercepts TLS, set SSL_CERT_FILE to your CA bundle."
    else:
        message = f"handshake failed: {reason.lower().replace('_', ' ')}"
        advice = "Check HTX_BASE_URL, and whether a proxy on the way intercepts TLS."
    return Finding("TLS", Verdict.FAILED, one_line(message), advice)


def clock(offset: float, uncertainty: float) -> Finding:
    """Return the error of the local clock; HTX's clock is *offset* seconds ahead."""
    error = abs(offset)
    if error - uncertainty <= 1.0:
        return Finding("clock", Verdict.OK, f"accurate to {max(error, uncertainty):.1g} s")
    direction = "behind" if offset > 0 else "ahead of"
    message = f"{_duration(error)} {direction} HTX, ±{uncertainty:.2g} s"
    if error <= MAX_UNCORRECTED_SKEW:
        advice = "Synchronize it with NTP before the error grows."
        return Finding("clock", Verdict.OK, message, advice)
    advice = "Synchronize it with NTP: this client corrects the time, others do not."
    return Finding("clock", Verdict.WARNING, message, advice)


def key_findings(info: APIKeyInfo | None, accounts: int) -> tuple[Finding, ...]:
    """Return the findings for a key whose first call returned that number of accounts."""
    return _key(info, accounts), _permission(info), _address(info)


def key_error_findings(error: HTXError) -> tuple[Finding, ...]:
    """Return the findings for a key whose first call failed."""
    known = Finding("key", Verdict.OK, "known to HTX")
    if isinstance(error, IPAddressError):
        permission = Finding("permission", Verdict.UNKNOWN, "skipped: see address")
        return known, permission, failed("address", error)
    if isinstance(error, PermissionDeniedError):
        address = Finding("address", Verdict.OK, "this machine's address is accepted")
        return known, failed("permission", error), address
    return (failed("key", error),)


def _key(info: APIKeyInfo | None, accounts: int) -> Finding:
    message = f"valid: returned {_count(accounts, 'account')}"
    if info is None or info.valid_days is None:
        return Finding("key", Verdict.OK, message)
    message = f"{message}, expires in {_count(info.valid_days, 'day')}"
    if info.valid_days > EXPIRES_SOON:
        return Finding("key", Verdict.OK, message)
    return Finding("key", Verdict.WARNING, message, f"Create a new one {_API_MANAGEMENT}.")


def _permission(info: APIKeyInfo | None) -> Finding:
    if info is None or not info.permission:
        return Finding("permission", Verdict.OK, "read: yes; other permissions: unknown")
    permissions = _list(info.permission)
    if Permission.WITHDRAW not in info.permission:
        return Finding("permission", Verdict.OK, permissions)
    advice = "Use a read-only key: this key also permits withdrawals."
    return Finding("permission", Verdict.WARNING, permissions, advice)


def _address(info: APIKeyInfo | None) -> Finding:
    if info is None:
        message = "this machine's address is accepted; others: unknown"
        return Finding("address", Verdict.OK, message)
    if info.ip_addresses:
        return Finding("address", Verdict.OK, f"bound to {_list(info.ip_addresses)}")
    advice = f"Bind the key to this machine's IP address {_API_MANAGEMENT}."
    return Finding("address", Verdict.OK, "not bound: the key works from any address", advice)


def _list(items: Sequence[str]) -> str:
    return one_line(", ".join(items))


def limits(status: RateLimitStatus) -> Finding:
    """Return whether HTX reports the remaining requests, and whether other programs use them."""
    limit, remaining = status.limit, status.remaining
    if remaining is None:
        advice = "A proxy may remove the headers. The client limits its requests anyway."
        return Finding("limits", Verdict.UNKNOWN, "remaining requests not reported", advice)
    message = f"{remaining} of {limit.requests} requests remaining (window: {limit.per:g} s)"
    if remaining >= limit.requests * _LOW:
        return Finding("limits", Verdict.OK, message)
    advice = "Other programs use keys of this user: HTX counts them together."
    return Finding("limits", Verdict.WARNING, message, advice)


_ADVICE: tuple[tuple[type[HTXError], str], ...] = (
    (InvalidInputError, "Correct the setting."),
    (ConnectError, "Check network, proxy and firewall: no request reached HTX."),
    (AuthenticationError, f"Check the key {_API_MANAGEMENT}."),
    (APIError, "Try again later; see HTX's status page."),
    (HTXError, "Try again; --debug logs each request."),
)


def failed(step: str, error: HTXError) -> Finding:
    """Return the finding for a call that raised *error*."""
    advice = next(text for kind, text in _ADVICE if isinstance(error, kind))
    if not isinstance(error, APIError):
        return Finding(step, Verdict.FAILED, str(error.args[0]), advice)
    message = f"API error: {error.message or error.code}"
    if error.code is None:
        message = f"HTTP {error.http_status}, not a response of HTX's API"
    return Finding(step, Verdict.FAILED, message, _hint(error) or advice)


def _hint(error: APIError) -> str:
    is_page = error.code is None and isinstance(error, ServiceUnavailableError)
    status = error.http_status or 0
    cause = cause_of(error.code, error.message or "", status, is_page=is_page)
    return "" if cause is None else cause.hint


def _os_message(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "invalid name"
    if isinstance(error, TimeoutError):
        return "timed out"
    if error.errno is not None and error.errno > 0:  # asyncio replaces the text of these
        return os.strerror(error.errno)
    return one_line(error.strerror or str(error))


def ms(seconds: float) -> str:
    """Return a duration in milliseconds."""
    return f"{seconds * 1000:.0f} ms"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    units = ((DAY, "days"), (3600.0, "hours"), (60.0, "minutes"))
    size, unit = next(((size, unit) for size, unit in units if seconds >= 2 * size), (1.0, "s"))
    return f"{seconds / size:.3g} {unit}"
