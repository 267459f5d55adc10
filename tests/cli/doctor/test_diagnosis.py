"""What the doctor concludes from what it has seen."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from htx_async import (
    AccessKeyError,
    APIError,
    ClockError,
    ConnectError,
    Credentials,
    DecodeError,
    HTXError,
    InvalidInputError,
    IPAddressError,
    PermissionDeniedError,
    RateLimit,
    RateLimitStatus,
    ServiceUnavailableError,
)
from htx_async.cli import exit_codes
from htx_async.cli.doctor import diagnosis
from htx_async.cli.doctor.diagnosis import Told
from htx_async.cli.doctor.finding import STEPS, Finding, Verdict, exit_code, skipped
from htx_async.validation import parse_base_url

HTX = parse_base_url("https://api.huobi.pro")


def found(*verdicts: Verdict) -> list[Finding]:
    return [Finding(step, verdict, "") for step, verdict in zip(STEPS, verdicts, strict=False)]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((), exit_codes.OK),
        ((Verdict.OK, Verdict.UNKNOWN), exit_codes.OK),
        ((Verdict.WARNED, Verdict.OK), exit_codes.WARNED),
        ((Verdict.WARNED, Verdict.FAILED), exit_codes.FAILED),
        ((Verdict.FAILED, Verdict.MISUSED, Verdict.WARNED), exit_codes.MISUSED),
    ],
)
def test_the_worst_counts(verdicts: tuple[Verdict, ...], code: int) -> None:
    """A setting first, then what fails, then what should be mended."""
    assert exit_code(found(*verdicts)) == code


def test_what_could_not_be_done_says_why() -> None:
    """By the last fault before it; a warning is none."""
    before = found(Verdict.MISUSED, Verdict.OK, Verdict.FAILED, Verdict.WARNED)
    left = skipped(before, "answer")
    assert [each.step for each in left] == ["TLS"]
    assert left[0].says == "not told: see name"
    assert [each.step for each in skipped(before)] == list(STEPS[4:])
    assert skipped([])[0].says == "not told"


def test_settings_show_no_more_than_four_characters() -> None:
    """And where requests go."""
    said = diagnosis.settings(Credentials("AKIDEXAMPLE0123456789", "secret-key"), HTX).says
    assert said == "HMAC-SHA256 key AKID… for https://api.huobi.pro"


def test_a_proxy_keeps_its_password() -> None:
    """Which way requests go is no secret, who may go it is."""
    assert "p4ss" not in diagnosis.proxy("http://me:p4ss@proxy:3128", HTX).says
    assert diagnosis.proxy(None, HTX).says == "none"
    assert "this machine" in diagnosis.proxy(None, parse_base_url("http://127.0.0.1:8000")).says


def test_names() -> None:
    """One address, several, or none."""
    assert diagnosis.name("::1", ["::1"], 0.0).says == "::1 is an address: nothing to look up"
    assert diagnosis.name("htx", ["1.2.3.4"], 0.012).says == "htx is 1.2.3.4, 12 ms"
    assert "1.2.3.4 and 1 more" in diagnosis.name("htx", ["1.2.3.4", "::2"], 0.0).says
    unknown = diagnosis.no_name("htx", socket.gaierror(socket.EAI_NONAME, "Name not known"))
    assert (unknown.verdict, unknown.says) == (
        Verdict.FAILED,
        "htx has no address: Name not known",
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError(), "no answer in time"),
        (OSError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError("Multiple exceptions: a, b"), "Multiple exceptions: a, b"),
    ],
)
def test_no_connection(error: OSError, says: str) -> None:
    """In the system's words."""
    assert diagnosis.no_connection("htx port 443", error).says == f"none to htx port 443: {says}"


@pytest.mark.parametrize(
    ("days", "verdict", "says"),
    [
        (15.5, Verdict.OK, "TLSv1.3, certificate good for 15 days"),
        (1.5, Verdict.WARNED, "TLSv1.3, certificate good for 1 day"),
    ],
)
def test_certificates(days: float, verdict: Verdict, says: str) -> None:
    """Two weeks before their end they are a reason to warn."""
    finding = diagnosis.tls("TLSv1.3", 1000.0 + days * diagnosis.DAY, 1000.0)
    assert (finding.verdict, finding.says) == (verdict, says)


def test_a_certificate_that_is_not_trusted() -> None:
    """The reason is that of OpenSSL, if it gave one."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    assert diagnosis.no_tls(error).says == "not trusted: self-signed certificate"
    assert "SSL_CERT_FILE" in diagnosis.no_tls(error).advice


def test_no_tls_at_all() -> None:
    """It is not a matter of trust then."""
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    finding = diagnosis.no_tls(error)
    assert finding.says == "none: wrong version number"
    assert "HTX_BASE_URL" in finding.advice
    assert diagnosis.no_tls(ssl.SSLError("odd")).says == "none: ('odd',)"


@pytest.mark.parametrize(
    ("offset", "verdict", "says"),
    [
        (0.2, Verdict.OK, "right to 0.2 s"),
        (0.0, Verdict.OK, "right to 0.05 s"),
        (3.0, Verdict.OK, "3 s behind HTX's, give or take 0.05 s"),
        (-119.0, Verdict.WARNED, "119 s ahead of HTX's, give or take 0.05 s"),
        (5400.0, Verdict.WARNED, "90 minutes behind HTX's, give or take 0.05 s"),
        (8000.0, Verdict.WARNED, "2.22 hours behind HTX's, give or take 0.05 s"),
        (-1e6, Verdict.WARNED, "11.6 days ahead of HTX's, give or take 0.05 s"),
    ],
)
def test_clocks(offset: float, verdict: Verdict, says: str) -> None:
    """Wrong is what this package corrects: beyond 5 s."""
    finding = diagnosis.clock(offset, 0.05)
    assert (finding.verdict, finding.says) == (verdict, says)
    assert ("NTP" in finding.advice) == (abs(offset) > 1.0)


ROWS = [
    "junk",
    {"accessKey": "another", "permission": "withdraw"},
    {"accessKey": "mine", "permission": "readOnly", "ipAddresses": None, "validDays": "odd"},
]


def test_what_htx_tells_of_a_key() -> None:
    """Of this one; whatever else is in the answer."""
    assert diagnosis.told(ROWS, "mine") == Told("readOnly", "", None)
    assert diagnosis.told(ROWS, "unknown") is None
    assert diagnosis.told({"accessKey": "mine"}, "mine") is None


@pytest.mark.parametrize(
    ("told", "verdicts", "says"),
    [
        (None, "ok ok ok", "it has read 1 account"),
        (Told("", "", None), "ok ok ok", "what else it may"),
        (Told("readOnly,trade", "", -1), "ok ok ok", "bound to none"),
        (Told("readOnly", "1.2.3.4", 90), "ok ok ok", "expires in 90 days"),
        (Told("readOnly", "1.2.3.4", 14), "warn ok ok", "expires in 14 days"),
        (Told("readOnly,trade,withdraw", "1.2.3.4", -1), "ok warn ok", "bound to 1.2.3.4"),
    ],
)
def test_a_key_that_works(told: Told | None, verdicts: str, says: str) -> None:
    """It is said until when, for what and from where, as far as HTX tells."""
    three = diagnosis.of_key(None, told, 1)
    assert [each.step for each in three] == ["key", "permission", "address"]
    assert " ".join(each.verdict for each in three) == verdicts
    assert says in " ".join(each.says for each in three)


def refused(kind: type[APIError], message: str) -> APIError:
    return kind("text", code="api-signature-not-valid", message=message, http_status=200)


@pytest.mark.parametrize(
    ("error", "verdicts", "advice"),
    [
        (refused(AccessKeyError, "Incorrect Access key"), "FAIL", "Check the access key"),
        (refused(ClockError, "Invalid submission time"), "FAIL", "by NTP"),
        (refused(IPAddressError, "Incorrect IP address"), "ok ? FAIL", "Add the address"),
        (refused(PermissionDeniedError, "no permission"), "ok FAIL ok", "Give the key"),
        (APIError("text", code="odd", http_status=200), "FAIL", "status page"),
        (AccessKeyError("text", code="odd", http_status=200), "FAIL", "Look at the key"),
        (ServiceUnavailableError("text", http_status=302), "FAIL", "A redirect"),
        (ConnectError("text"), "FAIL", "Nothing has reached HTX"),
        (InvalidInputError("text"), "FAIL", "Mend the setting"),
        (DecodeError("text"), "FAIL", "--debug"),
    ],
)
def test_a_key_that_fails(error: HTXError, verdicts: str, advice: str) -> None:
    """Where it fails, with what the table of causes says to do."""
    these = diagnosis.of_key(error, None, 0)
    assert " ".join(each.verdict for each in these) == verdicts
    assert advice in " ".join(each.advice for each in these)


def test_refusals_say_what_htx_said() -> None:
    """Its message, or its code; or that it was not HTX at all."""
    said = diagnosis.no_answer(refused(AccessKeyError, "Incorrect Access key [错误]")).says
    assert said == "HTX said: Incorrect Access key [错误]"
    assert diagnosis.no_answer(APIError("text", code=1002)).says == "HTX said: 1002"
    page = diagnosis.no_answer(ServiceUnavailableError("<html>", http_status=503)).says
    assert page == "HTTP 503 and no answer of HTX's API"


@pytest.mark.parametrize(
    ("remain", "verdict"),
    [(None, Verdict.UNKNOWN), (99, Verdict.OK), (50, Verdict.OK), (49, Verdict.WARNED)],
)
def test_limits(remain: int | None, verdict: Verdict) -> None:
    """Half of them gone by one read are gone by others."""
    status = RateLimitStatus(RateLimit(100, 2.0), 99, 0, 0.0, 0, remain, None)
    assert diagnosis.limits(status).verdict is verdict
