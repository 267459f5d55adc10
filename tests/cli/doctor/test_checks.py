"""Checks of the doctor: against a sandbox, injected faults, and unreachable hosts."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from htx_async import Clock, Credentials, InvalidInputError
from htx_async.cli import exit_codes
from htx_async.cli.doctor import checks
from htx_async.cli.doctor.checks import DoctorContext, examine
from htx_async.cli.doctor.finding import STEPS, Finding, Verdict, exit_code
from htx_async.cli.main import run
from htx_async.resources import users
from htx_async.sandbox import APIKey, Fault, Sandbox, auth, default_users, faults
from htx_async.validation import parse_base_url

ACCESS, SECRET = "AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210"
KEYS = Credentials(ACCESS, SECRET)


def sandbox_with_key(**fields: Any) -> Sandbox:
    """Return a sandbox that knows the key, with these fields changed."""
    parent, *others = default_users()
    key = APIKey(**{"access_key": ACCESS, "secret_key": SECRET} | fields)
    return Sandbox((attrs.evolve(parent, keys=(key,)), *others))


async def examined(context: DoctorContext) -> dict[str, Finding]:
    """Return the findings by step, after checking their order, advice and secrets."""
    findings = [finding async for finding in examine(context)]
    assert tuple(finding.step for finding in findings) == STEPS
    assert SECRET not in repr(findings)
    assert ACCESS not in repr(findings)
    problems = [finding for finding in findings if finding.is_problem]
    assert all(finding.advice and "\n" not in finding.advice for finding in problems)
    return {finding.step: finding for finding in findings}


def problems(findings: dict[str, Finding]) -> list[str]:
    return [step for step, finding in findings.items() if finding.is_problem]


class FastClock(Clock):
    """A clock that is three hours ahead."""

    def now(self) -> float:
        return super().now() + 10_800.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "secret", "steps", "message"),
    [
        ({}, SECRET, [], ""),
        ({}, "ANOTHERSECRET", ["key"], "Verification failure"),
        ({"access_key": "another"}, SECRET, ["key"], "Incorrect Access key"),
        ({"expired": True}, SECRET, ["key"], "expired"),
        ({"ip_addresses": ("1.2.3.4",)}, SECRET, ["address"], "127.0.0.1"),
        ({"permissions": ("trade",)}, SECRET, ["permission"], "no permission"),
    ],
)
async def test_key_problem_is_reported_at_its_step(
    fields: dict[str, Any], secret: str, steps: list[str], message: str
) -> None:
    """Other steps have no problem."""
    async with sandbox_with_key(**fields).serve() as base_url:
        findings = await examined(DoctorContext(Credentials(ACCESS, secret), base_url))
    assert problems(findings) == steps
    assert all(message in findings[step].message for step in steps)
    assert exit_code(findings.values()) == (exit_codes.FAILED if steps else exit_codes.OK)
    assert findings["limits"].verdict is (Verdict.UNKNOWN if steps else Verdict.OK)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "step"),
    [
        (faults.html(503), "response"),
        (faults.maintenance(), "response"),
        (faults.reset(), "response"),
        (faults.skewed(-3600.0), "clock"),
        (faults.field("data", "no time"), "response"),
    ],
)
async def test_fault_of_htx_is_reported_at_its_step(fault: Fault, step: str) -> None:
    """Without a response, the key is not checked."""
    sandbox = sandbox_with_key()
    sandbox.faults.always(fault, endpoint="GET /v1/common/timestamp")
    if step == "clock":
        sandbox.faults.always(fault)
    async with sandbox.serve() as base_url:
        findings = await examined(DoctorContext(KEYS, base_url))
    assert problems(findings) == [step]
    if step == "response":
        assert findings["key"].message == "skipped: see response"


@pytest.mark.slow
async def test_wrong_local_clock_is_warning() -> None:
    """The client corrects it, so the key works."""
    async with sandbox_with_key().serve() as base_url:
        findings = await examined(DoctorContext(KEYS, base_url, clock=FastClock()))
    assert problems(findings) == ["clock"]
    assert findings["clock"].message.startswith("3 hours ahead of HTX,")
    assert findings["key"].verdict is Verdict.OK
    assert exit_code(findings.values()) == exit_codes.WARNING


@pytest.mark.slow
async def test_missing_keys_do_not_skip_network_checks() -> None:
    async with sandbox_with_key().serve() as base_url:
        findings = await examined(DoctorContext(InvalidInputError("no keys"), base_url))
    assert problems(findings) == ["settings"]
    assert findings["clock"].verdict is Verdict.OK
    assert findings["key"].message == "skipped: see settings"
    assert exit_code(findings.values()) == exit_codes.USAGE_ERROR


class KeyQueryApp:
    """ASGI app: a sandbox with "API key query", an endpoint of parent users."""

    def __init__(self, sandbox: Sandbox, rows: Any) -> None:
        self.sandbox = sandbox
        self.data = {users.UID.path: 1000, users.API_KEY.path: rows}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] not in self.data:
            await self.sandbox(scope, receive, send)
            return
        body = json.dumps({"code": 200, "data": self.data[scope["path"]]}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.slow
async def test_key_of_parent_user_reports_expiry_permission_and_address() -> None:
    row = {
        "accessKey": ACCESS,
        "permission": "readOnly,withdraw",
        "ipAddresses": "127.0.0.1",
        "validDays": 7,
    }
    sandbox = sandbox_with_key()
    transport = httpx.ASGITransport(KeyQueryApp(sandbox, [row]))
    async with sandbox.serve() as base_url:
        findings = await examined(DoctorContext(KEYS, base_url, transport=transport))
    assert problems(findings) == ["key", "permission"]
    assert "expires in 7 days" in findings["key"].message
    assert findings["address"].message == "bound to 127.0.0.1"


@pytest.mark.slow
async def test_key_that_htx_does_not_describe_has_no_problem() -> None:
    """As that of a sub user."""
    sandbox = sandbox_with_key()
    transport = httpx.ASGITransport(KeyQueryApp(sandbox, []))
    async with sandbox.serve() as base_url:
        findings = await examined(DoctorContext(KEYS, base_url, transport=transport))
    assert problems(findings) == []
    assert findings["permission"].message == "read: yes; other permissions: unknown"


@pytest.mark.slow
async def test_ed25519_key_has_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    private = Ed25519PrivateKey.generate()

    def verify(key: APIKey, text: bytes, signed: bytes) -> bool:
        del key
        try:
            private.public_key().verify(base64.b64decode(signed), text)
        except InvalidSignature:
            return False
        return True

    methods = {**auth._METHODS, "Ed25519": verify}
    monkeypatch.setattr(auth, "_METHODS", methods)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    async with sandbox_with_key().serve() as base_url:
        findings = await examined(DoctorContext(Credentials.ed25519(ACCESS, pem), base_url))
    assert problems(findings) == []
    assert findings["settings"].message.startswith("Ed25519 key AKID…")


@pytest.mark.parametrize("base_url", ["http://example.com", "api.huobi.pro"])
async def test_invalid_base_url_is_bad_setting(base_url: str) -> None:
    """No request is sent; the other checks are skipped."""
    findings = await examined(DoctorContext(KEYS, base_url))
    assert problems(findings) == ["settings"]
    assert exit_code(findings.values()) == exit_codes.USAGE_ERROR


@pytest.mark.slow
async def test_closed_port_fails_connection() -> None:
    findings = await examined(DoctorContext(KEYS, "http://127.0.0.1:1"))
    assert problems(findings) == ["connection", "response"]
    assert (
        findings["connection"].message
        == "could not connect to 127.0.0.1 port 1: Connection refused"
    )
    assert exit_code(findings.values()) == exit_codes.FAILED


@pytest.fixture
def failing_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every DNS lookup fail."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


@pytest.mark.usefixtures("failing_dns")
async def test_unknown_host_fails_dns() -> None:
    """Connection and TLS are skipped."""
    findings = await examined(DoctorContext(KEYS, "https://api.huobi.example"))
    assert problems(findings) == ["DNS", "response"]
    assert findings["TLS"].message == "skipped: see DNS"


async def test_invalid_host_fails_dns() -> None:
    """Python cannot encode the name for a DNS lookup."""
    findings = await examined(DoctorContext(KEYS, f"https://[fe80::1%{'a' * 64}]"))
    assert problems(findings) == ["DNS", "response"]
    assert findings["DNS"].message.endswith(": invalid name")


@pytest.mark.slow
async def test_proxy_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The TLS settings are those for the proxy that was reported."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    calls = 0

    def count() -> dict[str, str]:
        nonlocal calls
        calls += 1
        return getproxies()

    getproxies = urllib.request.getproxies
    monkeypatch.setattr(urllib.request, "getproxies", count)
    origin = parse_base_url("https://api.huobi.example")
    findings = [finding async for finding in checks._check_network(origin, Clock())]
    assert [finding.step for finding in findings] == ["proxy", "DNS", "connection", "TLS"]
    assert calls == 1


@pytest.mark.slow
async def test_unreachable_proxy_fails_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is to the proxy; its password is redacted."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p4ssword@127.0.0.1:1")
    findings = await examined(DoctorContext(KEYS, "https://api.huobi.example"))
    assert problems(findings) == ["connection", "response"]
    assert "127.0.0.1 port 1" in findings["connection"].message
    assert "p4ssword" not in repr(findings)


@pytest.mark.parametrize(
    "url",
    ["ftp://me:p4ssword@proxy:1", "http://me:p4ssword\udcff@proxy:1", "http://me:p4ssword@a..b:1"],
)
async def test_invalid_proxy_is_bad_setting(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network checks are skipped; the password is redacted."""
    monkeypatch.setenv("HTTPS_PROXY", url)
    findings = await examined(DoctorContext(KEYS, "https://api.huobi.example"))
    assert problems(findings) == ["proxy"]
    assert findings["DNS"].message == "skipped: see proxy"
    assert "p4ssword" not in repr(findings)
    assert exit_code(findings.values()) == exit_codes.USAGE_ERROR


@pytest.mark.usefixtures("failing_dns")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_missing_certificates_are_a_bad_setting(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named, and nothing is requested."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(variable, "missing")
    findings = await examined(DoctorContext(KEYS, "https://api.huobi.example"))
    assert problems(findings) == ["DNS", "TLS"]
    assert findings["TLS"].message.startswith(f"{variable}: missing cannot be read")
    assert findings["TLS"].advice == "Correct the path or its content, or unset the variable."
    assert findings["response"].message == "skipped: see TLS"
    assert exit_code(findings.values()) == exit_codes.USAGE_ERROR


@asynccontextmanager
async def tls_server(folder: Path) -> AsyncIterator[str]:
    """Serve TLS with a self-signed certificate; close each connection."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    private, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=10, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    (folder / "certificate").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_certificate_expiring_or_not_trusted(
    *, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tls_server(tmp_path) as base_url:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate"))
        findings = await examined(DoctorContext(KEYS, base_url))
    assert problems(findings) == ["TLS", "response"]
    assert findings["connection"].verdict is Verdict.OK
    trusted_message = "TLSv1.3, certificate valid for 10 days"
    message = trusted_message if trusted else "certificate not trusted: self-signed"
    assert findings["TLS"].message.startswith(message)


@pytest.mark.slow
def test_doctor_prints_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    """Or, with `--json`, an object."""
    assert run(["doctor", "--sandbox"]) == exit_codes.OK
    output = capsys.readouterr().out
    assert [line.split()[1] for line in output.splitlines() if line[:2] == "ok"] == list(STEPS)
    assert output.endswith("No problems found.\n")
    assert max(map(len, output.splitlines())) <= 80
    assert run(["doctor", "--sandbox", "--json"]) == exit_codes.OK
    assert [item["step"] for item in json.loads(capsys.readouterr().out)] == list(STEPS)


@pytest.mark.slow
def test_doctor_with_missing_and_wrong_keys(
    served_sandbox: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are read from the environment, and redacted in the debug log, too."""
    monkeypatch.setenv("HTX_BASE_URL", served_sandbox)
    assert run(["doctor"]) == exit_codes.USAGE_ERROR
    assert "set HTX_ACCESS_KEY and HTX_SECRET_KEY" in capsys.readouterr().out
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET)
    assert run(["doctor", "--debug"]) == exit_codes.FAILED
    captured = capsys.readouterr()
    assert "HTTP 200 AccessKeyError" in captured.err
    for secret in (ACCESS, SECRET, "Signature="):
        assert secret not in captured.out + captured.err
