"""The doctor at work: against a sandbox, its faults, and hosts that are none."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import socket
import ssl
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
from htx_async.cli.doctor.checks import Patient, examine
from htx_async.cli.doctor.finding import STEPS, Finding, Verdict, exit_code
from htx_async.cli.main import run
from htx_async.sandbox import APIKey, Fault, Sandbox, auth, default_users, faults
from htx_async.transports import httpx as httpx_transport

ACCESS, SECRET = "AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210"
KEYS = Credentials(ACCESS, SECRET)


def sandbox_with(**about_the_key: Any) -> Sandbox:
    """Return an HTX that knows one key more."""
    parent, *others = default_users()
    key = APIKey(**{"access_key": ACCESS, "secret_key": SECRET} | about_the_key)
    return Sandbox((attrs.evolve(parent, keys=(key,)), *others))


async def examined(patient: Patient) -> dict[str, Finding]:
    """Return what was found, by step; every step is there, once, in order, without a secret."""
    found = [finding async for finding in examine(patient)]
    assert tuple(finding.step for finding in found) == STEPS
    assert SECRET not in repr(found)
    assert ACCESS not in repr(found)
    bad = [each for each in found if each.verdict not in (Verdict.OK, Verdict.UNKNOWN)]
    assert all(each.advice and "\n" not in each.advice for each in bad)
    return {finding.step: finding for finding in found}


def bad(found: dict[str, Finding]) -> list[str]:
    fine = (Verdict.OK, Verdict.UNKNOWN)
    return [step for step, finding in found.items() if finding.verdict not in fine]


class Ahead(Clock):
    """A machine whose clock is wrong."""

    def now(self) -> float:
        return super().now() + 10_800.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("about_the_key", "secret", "fails", "says"),
    [
        ({}, SECRET, [], ""),
        ({}, "ANOTHERSECRET", ["key"], "Verification failure"),
        ({"access_key": "another"}, SECRET, ["key"], "Incorrect Access key"),
        ({"expired": True}, SECRET, ["key"], "expired"),
        ({"ip_addresses": ("1.2.3.4",)}, SECRET, ["address"], "127.0.0.1"),
        ({"permissions": ("trade",)}, SECRET, ["permission"], "no permission"),
    ],
)
async def test_keys(
    about_the_key: dict[str, Any], secret: str, fails: list[str], says: str
) -> None:
    """Each fault of a key is found where it is, and nothing else."""
    async with sandbox_with(**about_the_key).serve() as base_url:
        found = await examined(Patient(Credentials(ACCESS, secret), base_url))
    assert bad(found) == fails
    assert all(says in found[step].says for step in fails)
    assert exit_code(found.values()) == (exit_codes.FAILED if fails else exit_codes.OK)
    assert found["limits"].verdict is (Verdict.UNKNOWN if fails else Verdict.OK)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "fails"),
    [
        (faults.html(503), ["answer"]),
        (faults.maintenance(), ["answer"]),
        (faults.reset(), ["answer"]),
        (faults.skewed(-3600.0), ["clock"]),
        (faults.field("data", "no time"), ["answer"]),
    ],
)
async def test_an_htx_that_fails(fault: Fault, fails: list[str]) -> None:
    """What it cannot tell then, it says so."""
    sandbox = sandbox_with()
    sandbox.faults.always(fault, endpoint="GET /v1/common/timestamp")
    if fails == ["clock"]:
        sandbox.faults.always(fault)
    async with sandbox.serve() as base_url:
        found = await examined(Patient(KEYS, base_url))
    assert bad(found) == fails
    if fails == ["answer"]:
        assert found["key"].says == "not told: see answer"


@pytest.mark.slow
async def test_a_wrong_clock_here_is_warned_of_and_corrected() -> None:
    """The key works all the same."""
    async with sandbox_with().serve() as base_url:
        found = await examined(Patient(KEYS, base_url, clock=Ahead()))
    assert bad(found) == ["clock"]
    assert found["clock"].says.startswith("3 hours ahead of HTX's")
    assert found["key"].verdict is Verdict.OK
    assert exit_code(found.values()) == exit_codes.WARNED


@pytest.mark.slow
async def test_no_keys_leave_the_rest_to_be_examined() -> None:
    """The network may be at fault, too."""
    async with sandbox_with().serve() as base_url:
        found = await examined(Patient(InvalidInputError("no keys"), base_url))
    assert bad(found) == ["settings"]
    assert found["clock"].verdict is Verdict.OK
    assert found["key"].says == "not told: see settings"
    assert exit_code(found.values()) == exit_codes.MISUSED


class ThatTells:
    """An HTX in front of a sandbox that answers what the sandbox does not know."""

    def __init__(self, sandbox: Sandbox, rows: Any) -> None:
        self.sandbox = sandbox
        self.answers = {checks.UID: 1000, checks.KEYS: rows}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] not in self.answers:
            await self.sandbox(scope, receive, send)
            return
        body = json.dumps({"code": 200, "data": self.answers[scope["path"]]}).encode()
        head = {"type": "http.response.start", "status": 200, "headers": []}
        await send(head)
        await send({"type": "http.response.body", "body": body})


@pytest.mark.slow
async def test_what_htx_tells_parent_users() -> None:
    """Its page "API key query": what a key may, from where, and until when."""
    row = {
        "accessKey": ACCESS,
        "permission": "readOnly,withdraw",
        "ipAddresses": "127.0.0.1",
        "validDays": 7,
    }
    sandbox = sandbox_with()
    transport = httpx.ASGITransport(ThatTells(sandbox, [row]))
    async with sandbox.serve() as base_url:
        found = await examined(Patient(KEYS, base_url, transport=transport))
    assert bad(found) == ["key", "permission"]
    assert "expires in 7 days" in found["key"].says
    assert found["address"].says == "bound to 127.0.0.1"


@pytest.mark.slow
async def test_ed25519_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are as good, for an HTX that knows the public half."""
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
    async with sandbox_with().serve() as base_url:
        found = await examined(Patient(Credentials.ed25519(ACCESS, pem), base_url))
    assert bad(found) == []
    assert found["settings"].says.startswith("Ed25519 key AKID…")


@pytest.mark.parametrize("base_url", ["http://example.com", "api.huobi.pro"])
async def test_an_address_that_cannot_be_right(base_url: str) -> None:
    """Nothing is asked; all else says so."""
    found = await examined(Patient(KEYS, base_url))
    assert bad(found) == ["settings"]
    assert exit_code(found.values()) == exit_codes.MISUSED


@pytest.mark.slow
async def test_a_port_where_nobody_is() -> None:
    """The way is told as far as it goes."""
    found = await examined(Patient(KEYS, "http://127.0.0.1:1"))
    assert bad(found) == ["connection", "answer"]
    assert found["connection"].says == "none to 127.0.0.1 port 1: Connection refused"
    assert exit_code(found.values()) == exit_codes.FAILED


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that knows nobody."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


@pytest.mark.usefixtures("no_names")
async def test_a_host_that_does_not_exist() -> None:
    """There is nothing to connect to, and that is why."""
    found = await examined(Patient(KEYS, "https://api.huobi.example"))
    assert bad(found) == ["name", "answer"]
    assert found["TLS"].says == "not told: see name"


@pytest.mark.slow
async def test_a_proxy_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the proxy that is examined, and its password is its own."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p4ssword@127.0.0.1:1")
    found = await examined(Patient(KEYS, "https://api.huobi.example"))
    assert bad(found) == ["connection", "answer"]
    assert "127.0.0.1 port 1" in found["connection"].says
    assert "p4ssword" not in repr(found)


async def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting is wrong; how the network is cannot be told."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://me:p4ssword@proxy:1")
    found = await examined(Patient(KEYS, "https://api.huobi.example"))
    assert bad(found) == ["proxy", "answer"]
    assert found["name"].says == "not told: see proxy"
    assert "p4ssword" not in repr(found)
    assert exit_code(found.values()) == exit_codes.MISUSED


@asynccontextmanager
async def over_tls(folder: Path) -> AsyncIterator[str]:
    """Serve TLS with a certificate that nobody has signed, and nothing above it."""
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
@pytest.mark.httpx
@pytest.mark.parametrize("trusted", [True, False])
async def test_tls(*, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that ends soon, and one that is not trusted."""
    httpx_transport.tls_context.cache_clear()
    async with over_tls(tmp_path) as base_url:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate"))
        found = await examined(Patient(KEYS, base_url))
    httpx_transport.tls_context.cache_clear()
    assert bad(found) == ["TLS", "answer"]
    assert found["connection"].verdict is Verdict.OK
    said = "TLSv1.3, certificate good for 10 days" if trusted else "not trusted: self-signed"
    assert found["TLS"].says.startswith(said)


@pytest.mark.slow
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each step, and the last word; or the same as JSON."""
    assert run(["doctor", "--sandbox"]) == exit_codes.OK
    said = capsys.readouterr().out
    assert [line.split()[1] for line in said.splitlines() if line[:2] == "ok"] == list(STEPS)
    assert said.endswith("All is well.\n")
    assert max(map(len, said.splitlines())) <= 80
    assert run(["doctor", "--sandbox", "--json"]) == exit_codes.OK
    assert [each["step"] for each in json.loads(capsys.readouterr().out)] == list(STEPS)


@pytest.mark.slow
def test_the_command_with_keys_of_the_environment(
    served_sandbox: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong ones, or none; even what is logged has none of them."""
    monkeypatch.setenv("HTX_BASE_URL", served_sandbox)
    assert run(["doctor"]) == exit_codes.MISUSED
    assert "no keys: set HTX_ACCESS_KEY" in capsys.readouterr().out
    monkeypatch.setenv("HTX_ACCESS_KEY", ACCESS)
    monkeypatch.setenv("HTX_SECRET_KEY", SECRET)
    assert run(["doctor", "--debug"]) == exit_codes.FAILED
    said = capsys.readouterr()
    assert "refused http_status=200 error=AccessKeyError" in said.err
    for secret in (ACCESS, SECRET, "Signature="):
        assert secret not in said.out + said.err
