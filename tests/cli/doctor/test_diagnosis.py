"""Rules of the doctor: from an observation to a finding."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from htx_async import (
    AccessKeyError,
    APIError,
    APIKeyInfo,
    APIKeyStatus,
    ClockError,
    ConnectError,
    Credentials,
    DecodeError,
    HTXError,
    InvalidInputError,
    IPAddressError,
    Permission,
    PermissionDeniedError,
    RateLimit,
    RateLimitStatus,
    ServiceUnavailableError,
)
from htx_async.cli.doctor import diagnosis
from htx_async.cli.doctor.finding import Verdict
from htx_async.transports.environment import Proxy
from htx_async.validation import parse_base_url

HTX = parse_base_url("https://api.huobi.pro")


def test_settings_mask_access_key() -> None:
    """Four characters remain, and the base URL."""
    message = diagnosis.settings(Credentials("AKIDEXAMPLE0123456789", "secret-key"), HTX).message
    assert message == "HMAC-SHA256 key AKID… for https://api.huobi.pro"


def test_proxy_is_named_without_its_password() -> None:
    proxy = Proxy("proxy", 3128, is_tls=False, setting="HTTPS_PROXY", header="p4ss")
    assert diagnosis.proxy(proxy, HTX).message == "through proxy:3128 (HTTPS_PROXY)"
    assert diagnosis.proxy(None, HTX).message == "none"
    loopback = parse_base_url("http://127.0.0.1:8000")
    assert diagnosis.proxy(None, loopback).message == "none (not used for loopback)"


def test_dns_names_address() -> None:
    literal = diagnosis.dns("::1", ["::1"], 0.0)
    assert literal.message == "::1 is an IP address: no lookup needed"
    assert diagnosis.dns("htx", ["1.2.3.4"], 0.012).message == "htx is 1.2.3.4, 12 ms"
    assert "1.2.3.4 and 1 more" in diagnosis.dns("htx", ["1.2.3.4", "::2"], 0.0).message
    failed = diagnosis.dns_failed("htx", socket.gaierror(socket.EAI_NONAME, "Name not known"))
    assert failed.verdict is Verdict.FAILED
    assert failed.message == "cannot resolve htx: Name not known"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (TimeoutError(), "timed out"),
        (OSError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError("Multiple exceptions: a, b"), "Multiple exceptions: a, b"),
    ],
)
def test_connection_failed_names_cause(error: OSError, cause: str) -> None:
    message = diagnosis.connection_failed("htx port 443", error).message
    assert message == f"could not connect to htx port 443: {cause}"


@pytest.mark.parametrize(
    ("days", "verdict", "message"),
    [
        (15.5, Verdict.OK, "TLSv1.3, certificate valid for 15 days"),
        (1.5, Verdict.WARNING, "TLSv1.3, certificate valid for 1 day"),
    ],
)
def test_tls_certificate_warning(days: float, verdict: Verdict, message: str) -> None:
    """From two weeks before it expires."""
    finding = diagnosis.tls("TLSv1.3", 1000.0 + days * diagnosis.DAY, 1000.0)
    assert (finding.verdict, finding.message) == (verdict, message)


def test_tls_failed_certificate_not_trusted() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    finding = diagnosis.tls_failed(error)
    assert finding.message == "certificate not trusted: self-signed certificate"
    assert "SSL_CERT_FILE" in finding.advice


def test_tls_failed_handshake() -> None:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    finding = diagnosis.tls_failed(error)
    assert finding.message == "handshake failed: wrong version number"
    assert "HTX_BASE_URL" in finding.advice
    assert diagnosis.tls_failed(ssl.SSLError("odd")).message == "handshake failed: ('odd',)"


@pytest.mark.parametrize(
    ("offset", "verdict", "message"),
    [
        (0.2, Verdict.OK, "accurate to 0.2 s"),
        (0.0, Verdict.OK, "accurate to 0.05 s"),
        (3.0, Verdict.OK, "3 s behind HTX, ±0.05 s"),
        (-119.0, Verdict.WARNING, "119 s ahead of HTX, ±0.05 s"),
        (5400.0, Verdict.WARNING, "90 minutes behind HTX, ±0.05 s"),
        (8000.0, Verdict.WARNING, "2.22 hours behind HTX, ±0.05 s"),
        (-1e6, Verdict.WARNING, "11.6 days ahead of HTX, ±0.05 s"),
    ],
)
def test_clock_warning_beyond_uncorrected_skew(
    offset: float, verdict: Verdict, message: str
) -> None:
    """The client corrects an error of more than 5 s."""
    finding = diagnosis.clock(offset, 0.05)
    assert (finding.verdict, finding.message) == (verdict, message)
    assert ("NTP" in finding.advice) == (abs(offset) > 1.0)


def key(permission: str, addresses: str = "", valid_days: int | None = None) -> APIKeyInfo:
    """Return a key with permissions and addresses in text, separated by blanks."""
    permissions = tuple(map(Permission, permission.split()))
    status = APIKeyStatus.NORMAL
    return APIKeyInfo("", status, permissions, tuple(addresses.split()), valid_days, None, None)


@pytest.mark.parametrize(
    ("info", "verdicts", "message"),
    [
        (None, "ok ok ok", "valid: returned 1 account"),
        (key(""), "ok ok ok", "read: yes; other permissions: unknown"),
        (key("readOnly trade"), "ok ok ok", "not bound"),
        (key("readOnly", "1.2.3.4", 90), "ok ok ok", "expires in 90 days"),
        (key("readOnly", "1.2.3.4", 14), "warning ok ok", "expires in 14 days"),
        (key("readOnly trade withdraw", "1.2.3.4"), "ok warning ok", "bound to 1.2.3.4"),
    ],
)
def test_key_findings_report_expiry_permission_and_address(
    info: APIKeyInfo | None, verdicts: str, message: str
) -> None:
    findings = diagnosis.key_findings(info, 1)
    assert [finding.step for finding in findings] == ["key", "permission", "address"]
    assert " ".join(finding.verdict for finding in findings) == verdicts
    assert message in " ".join(finding.message for finding in findings)


def api_error(kind: type[APIError], message: str) -> APIError:
    return kind("text", code="api-signature-not-valid", message=message, http_status=200)


@pytest.mark.parametrize(
    ("error", "verdicts", "advice"),
    [
        (api_error(AccessKeyError, "Incorrect Access key"), "failed", "Check the access key"),
        (api_error(ClockError, "Invalid submission time"), "failed", "within a minute"),
        (api_error(IPAddressError, "Incorrect IP address"), "ok skipped failed", "Add the address"),
        (api_error(PermissionDeniedError, "no permission"), "ok failed ok", "Give the key"),
        (APIError("text", code="odd", http_status=200), "failed", "status page"),
        (AccessKeyError("text", code="odd", http_status=200), "failed", "Check the key"),
        (ServiceUnavailableError("text", http_status=302), "failed", "A redirect"),
        (ConnectError("text"), "failed", "no request reached HTX"),
        (InvalidInputError("text"), "failed", "Correct the setting"),
        (DecodeError("text"), "failed", "--debug"),
    ],
)
def test_key_error_findings_give_hint_at_failed_step(
    error: HTXError, verdicts: str, advice: str
) -> None:
    """The hint is that of the table of error codes, if it has one."""
    findings = diagnosis.key_error_findings(error)
    assert " ".join(finding.verdict for finding in findings) == verdicts
    assert advice in " ".join(finding.advice for finding in findings)


def test_failed_shows_message_of_api_error() -> None:
    """Else the code of the error, or the status of a response that is not HTX's."""
    rejected = diagnosis.failed("key", api_error(AccessKeyError, "Incorrect Access key [错误]"))
    assert rejected.message == "API error: Incorrect Access key [错误]"
    assert diagnosis.failed("key", APIError("text", code=1002)).message == "API error: 1002"
    page = diagnosis.failed("key", ServiceUnavailableError("<html>", http_status=503))
    assert page.message == "HTTP 503, not a response of HTX's API"


@pytest.mark.parametrize(
    ("remaining", "verdict"),
    [(None, Verdict.UNKNOWN), (99, Verdict.OK), (50, Verdict.OK), (49, Verdict.WARNING)],
)
def test_limits_warning_if_other_programs_use_them(remaining: int | None, verdict: Verdict) -> None:
    """After a single call, less than half of the limit remains."""
    status = RateLimitStatus(RateLimit(100, 2.0), 99, 0, 0.0, 0, remaining, None)
    assert diagnosis.limits(status).verdict is verdict
