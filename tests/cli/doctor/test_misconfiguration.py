"""The doctor with wrong settings: it reports every check, names the variable, and exits with 2."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from htx_async.cli.doctor.finding import STEPS
from htx_async.cli.exit_codes import USAGE_ERROR
from htx_async.cli.main import run

PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQA\n-----END PRIVATE KEY-----\n"

SETTINGS = (  # step, variables, words of the message
    ("settings", {"HTX_BASE_URL": "http://example.com"}, "HTX_BASE_URL must be https"),
    ("settings", {"HTX_BASE_URL": "https://api.huobi.pro:0"}, "HTX_BASE_URL"),
    ("settings", {"HTX_BASE_URL": "https://api.huobi.pro:65536"}, "HTX_BASE_URL"),
    ("settings", {"HTX_BASE_URL": "https://[::1].evil.com"}, "HTX_BASE_URL"),
    ("settings", {"HTX_BASE_URL": "https://api.huobi.pro/.."}, "HTX_BASE_URL"),
    ("settings", {"HTX_BASE_URL": "https://api.huobi.pro\n"}, "HTX_BASE_URL"),
    ("settings", {"HTX_BASE_URL": "https://me:s3cret@api.huobi.pro"}, "HTX_BASE_URL"),
    ("settings", {"HTX_BASE_URL": "https://\udcff"}, "HTX_BASE_URL"),
    ("settings", {"HTX_ACCESS_KEY": ""}, "HTX_ACCESS_KEY is empty"),
    ("settings", {"HTX_ACCESS_KEY": "'key'"}, "HTX_ACCESS_KEY is in quotes"),
    ("settings", {"HTX_ACCESS_KEY": "\udcff"}, "HTX_ACCESS_KEY contains"),
    ("settings", {"HTX_ACCESS_KEY_FILE": "key"}, "HTX_ACCESS_KEY and HTX_ACCESS_KEY_FILE"),
    ("settings", {"HTX_SECRET_KEY": PEM}, "Set a private key as HTX_PRIVATE_KEY"),
    ("settings", {"HTX_SECRET_KEY": "s3cret\n"}, "HTX_SECRET_KEY begins or ends"),
    ("settings", {"HTX_PRIVATE_KEY": PEM}, "HTX_SECRET_KEY and HTX_PRIVATE_KEY are both set"),
    ("proxy", {"HTTPS_PROXY": "http://me:s3cret@proxy:99999"}, "HTTPS_PROXY: the URL of the proxy"),
    ("proxy", {"HTTPS_PROXY": "ftp://proxy"}, "HTTPS_PROXY: must be the URL of an HTTP proxy"),
    ("proxy", {"HTTPS_PROXY": "http://pro\nxy"}, "HTTPS_PROXY"),
    ("proxy", {"ALL_PROXY": "socks://me:s3cret@proxy:1"}, "ALL_PROXY: SOCKS proxies are not"),
    ("TLS", {"SSL_CERT_FILE": "missing.pem"}, "SSL_CERT_FILE: missing.pem cannot be read"),
    ("TLS", {"SSL_CERT_FILE": "folder"}, "SSL_CERT_FILE: folder"),
    ("TLS", {"SSL_CERT_FILE": "text"}, "SSL_CERT_FILE: text does not contain certificates"),
    ("TLS", {"SSL_CERT_FILE": "\udcff"}, "SSL_CERT_FILE"),
    ("TLS", {"SSL_CERT_DIR": "missing"}, "SSL_CERT_DIR: missing cannot be read"),
    ("TLS", {"SSLKEYLOGFILE": "missing/log"}, "SSLKEYLOGFILE: missing/log cannot be opened"),
    ("", {"NO_PROXY": "[::1,a:99999999,*.x,10.0.0.0/99,\udcff", "HTTPS_PROXY": "http://p"}, ""),
)


@pytest.fixture
def unreachable_htx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys and a base URL whose name cannot be resolved; a directory with a few files."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("HTX_BASE_URL", "https://api.huobi.example")
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.setenv("HTX_SECRET_KEY", "secret-key")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text").write_text("no certificate", encoding="utf-8")


@pytest.mark.usefixtures("unreachable_htx")
@pytest.mark.parametrize(("step", "variables", "message"), SETTINGS)
def test_doctor_reports_wrong_setting_and_every_check(
    step: str,
    variables: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code = run(["doctor", "--json"])
    captured = capsys.readouterr()
    findings = json.loads(captured.out)
    assert captured.err == ""
    assert [finding["step"] for finding in findings] == list(STEPS)
    verdicts = {finding["verdict"] for finding in findings}
    assert verdicts <= {"ok", "warning", "failed", "misconfigured", "skipped"}
    wrong = [finding for finding in findings if finding["verdict"] == "misconfigured"]
    assert [finding["step"] for finding in wrong] == [step] * bool(step)
    assert (code == USAGE_ERROR) == bool(step)
    assert all(message in finding["says"] and finding["advice"] for finding in wrong)
    for text in ("s3cret", "transport=", "()", "base_url"):
        assert text not in captured.out
    assert run(["doctor"]) == code  # on a terminal, too
    assert [line for line in capsys.readouterr().out.splitlines() if " limits " in line]
