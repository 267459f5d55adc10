"""Certificates and proxies that the environment names."""

from __future__ import annotations

import base64
import os
import ssl
import traceback
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest
import trustme

from htx_async.errors import InvalidInputError
from htx_async.transports.environment import Proxy, proxy_for, read_environment
from htx_async.validation import Origin, parse_base_url

HTX = parse_base_url("https://api.huobi.pro")
TLS_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in (*TLS_VARIABLES, "Https_Proxy"):
        monkeypatch.delenv(name, raising=False)


def _proxy(host: str, port: int, setting: str, *, is_tls: bool = False) -> Proxy:
    return Proxy(host, port, is_tls, setting)


_IDNA_PROXY = _proxy("xn--prxy-6qa.example", 80, "HTTPS_PROXY")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:8080"}, _proxy("proxy", 8080, "HTTPS_PROXY")),
        ({"https_proxy": "proxy:8080"}, _proxy("proxy", 8080, "https_proxy")),
        ({"ALL_PROXY": "http://proxy"}, _proxy("proxy", 80, "ALL_PROXY")),
        ({"HTTPS_PROXY": "https://proxy"}, _proxy("proxy", 443, "HTTPS_PROXY", is_tls=True)),
        ({"HTTPS_PROXY": "http://[::1]:99"}, _proxy("::1", 99, "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "a:1", "https_proxy": "b:2"}, _proxy("b", 2, "https_proxy")),
        ({"HTTPS_PROXY": "a:1", "https_proxy": "a:1"}, _proxy("a", 1, "https_proxy")),
        ({"HTTPS_PROXY": "a:1", "Https_Proxy": "b:2"}, _proxy("b", 2, "Https_Proxy")),
        ({"Https_Proxy": "b:2", "HTTPS_PROXY": "a:1"}, _proxy("a", 1, "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "a:1", "https_proxy": ""}, None),
        ({"HTTPS_PROXY": "a:1", "ALL_PROXY": "b:2"}, _proxy("a", 1, "HTTPS_PROXY")),
        ({"HTTP_PROXY": "http://proxy:8080"}, None),
        ({"HTTPS_PROXY": " http://proxy:8080\n"}, _proxy("proxy", 8080, "HTTPS_PROXY")),
        ({"HTTPS_PROXY": " ", "ALL_PROXY": "b:2"}, _proxy("b", 2, "ALL_PROXY")),
        ({"HTTPS_PROXY": "http://Pröxy.example."}, _IDNA_PROXY),
    ],
)
def test_proxy_is_read_from_variables(
    variables: dict[str, str], expected: Proxy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the scheme first, then `ALL_PROXY`; lower case first."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(HTX) == expected


def test_proxy_is_read_from_system_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS and Windows have them."""
    settings = {"https": "http://proxy:port"}
    monkeypatch.setattr("urllib.request.getproxies", lambda: settings)
    with pytest.raises(InvalidInputError, match="the system's proxy setting: the URL"):
        proxy_for(HTX)


def test_proxy_for_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a variable of its own."""
    monkeypatch.setenv("HTTP_PROXY", "proxy:1")
    assert proxy_for(Origin("http", "example.org", 80)) == _proxy("proxy", 1, "HTTP_PROXY")


def test_proxy_password_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the header only, decoded."""
    monkeypatch.setenv("HTTPS_PROXY", "http://us%40er:p4ss%3Aword@proxy:8080")
    proxy = proxy_for(HTX)
    assert proxy is not None
    assert proxy.header == "Proxy-Authorization: Basic dXNAZXI6cDRzczp3b3Jk\r\n"
    assert "dXNA" not in f"{proxy!r} {proxy}"
    assert str(proxy) == "proxy:8080"
    assert str(_proxy("::1", 80, "x")) == "[::1]:80"


@pytest.mark.parametrize(
    ("user_info", "sent"),
    [
        ("user", b"user:"),
        (":p4ss", b":p4ss"),
        ("us%40er:p4ss%3Aword", b"us@er:p4ss:word"),
        ("user:p4ssw%C3%B6rd%FF", b"user:p4ssw\xc3\xb6rd\xff"),
        ("user:p4sswörd", b"user:p4ssw\xc3\xb6rd"),
    ],
)
def test_proxy_user_and_password_are_sent(
    user_info: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are percent-decoded to bytes, which need not be UTF-8."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://{user_info}@proxy")
    proxy = proxy_for(HTX)
    assert proxy is not None
    assert base64.b64decode(proxy.header.removeprefix("Proxy-Authorization: Basic ")) == sent


@pytest.mark.parametrize(
    ("no_proxy", "bypassed"),
    [
        ("*", True),
        ("example.com, *", True),
        ("huobi.pro", True),
        (".huobi.pro", True),
        ("API.HUOBI.PRO", True),
        ("api.huobi.pro:443", True),
        ("huobi.pro:443", True),
        ("api.huobi.pro:8443", False),
        ("xhuobi.pro", False),
        ("obi.pro", False),
        ("example.com,10.0.0.0/8,,nonsense/x", False),
        ("example.com", False),
    ],
)
def test_no_proxy_matches_host(
    no_proxy: str, bypassed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its subdomains, and with or without its port."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(HTX) is None) is bypassed


@pytest.mark.parametrize(
    ("no_proxy", "host", "bypassed"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.0/8", "10.9.9.9", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3:444", "10.1.2.3", False),
        ("fd00::/8", "fd00::5", True),
        ("fd00::5", "fd00::5", True),
        ("[fd00::5]", "fd00::5", True),
        ("[fd00::5]:443", "fd00::5", True),
        ("[fd00::5]:444", "fd00::5", False),
    ],
)
def test_no_proxy_matches_network(
    no_proxy: str, host: str, bypassed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CIDR and addresses of both families."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(Origin("https", host, 443)) is None) is bypassed


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://localhost", "http://[::1]:1"])
def test_loopback_needs_no_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy may be on another machine."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy:8080")
    assert proxy_for(parse_base_url(url)) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("ftp://u:p4ss@proxy", "must be the URL of an HTTP proxy"),
        ("http://u:p4ss@", "must be the URL of an HTTP proxy"),
        ("http://u:p4ss@proxy:0", "must be the URL of an HTTP proxy"),
        ("http://u:p4ss@proxy:65536", "the URL of the proxy has an invalid host or port"),
        ("http://u:p4ss@proxy:port", "the URL of the proxy has an invalid host or port"),
        ("http://u:p4ss@[proxy", "the URL of the proxy has an invalid host or port"),
        ("http://u:p4ss@a..b:1", "the URL of the proxy has an invalid host or port"),
        ("http://u:p4ss@" + "a" * 64, "the URL of the proxy has an invalid host or port"),
        ("http://u:p4ss@ proxy:1", "must be the URL of an HTTP proxy"),
        ("PROXY u:p4ss@pro xy:1", "must be the URL of an HTTP proxy"),
        ("http://u:p4ss@*:1", "must be the URL of an HTTP proxy"),
        ("http://u:p4ss@<b>:1", "must be the URL of an HTTP proxy"),
        ("http://u:p4ss\udcff@proxy:1", "has an unprintable character. Percent-encode it"),
        ("http://u:p4ss@pro\udcffxy:1", "has an unprintable character. Percent-encode it"),
        ("http://u:p4\nss@proxy:1", "has an unprintable character. Percent-encode it"),
        ("socks://u:p4ss@proxy", r'httpx\.AsyncHTTPTransport\(proxy="socks5://'),
        ("socks5h://u:p4ss@proxy", r'pip install "httpx\[socks\]"'),
    ],
)
def test_wrong_proxy_is_invalid_input(
    value: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable, and shows nothing of the password."""
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(InvalidInputError, match=problem) as caught:
        read_environment(HTX)
    assert str(caught.value).startswith("ALL_PROXY: ")
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame.locals for frame in trace.stack if "htx_async/transports/" in frame.filename]
    assert len(frames) >= 3
    assert "p4ss" not in f"{frames}"
    assert caught.value.__context__ is None


def _directory(path: Path) -> Path:
    return path


def _missing(path: Path) -> Path:
    return path / "missing"


def _key(path: Path) -> Path:
    trustme.CA().private_key_pem.write_to_path(path / "key")
    return path / "key"


def _text(path: Path) -> Path:
    (path / "text").write_text("no certificate")
    return path / "text"


@pytest.mark.parametrize(
    ("variable", "create"),
    [
        ("SSL_CERT_FILE", _missing),
        ("SSL_CERT_FILE", _directory),
        ("SSL_CERT_FILE", _key),
        ("SSL_CERT_FILE", _text),
        ("SSL_CERT_DIR", _missing),
        ("SSL_CERT_DIR", _text),
        ("SSLKEYLOGFILE", _directory),
    ],
)
def test_wrong_tls_setting_is_invalid_input(
    variable: str,
    create: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names the variable and the path."""
    path = create(tmp_path)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(InvalidInputError) as caught:
        read_environment(HTX)
    assert str(caught.value).startswith(f"{variable}: {path} ")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("variable", TLS_VARIABLES)
@pytest.mark.parametrize("path", ["/missing/\n\udcff/x", "/missing/" + "x" * 300])
def test_path_in_error_is_short_and_printable(
    variable: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, path)
    with pytest.raises(InvalidInputError, match=f"{variable}: /missing/") as caught:
        read_environment(HTX)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 280


def test_blank_tls_setting_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file with the name " " is created."""
    monkeypatch.chdir(tmp_path)
    expected = read_environment(HTX)
    for variable in TLS_VARIABLES:
        monkeypatch.setenv(variable, " ")
    assert read_environment(HTX) == expected
    assert list(tmp_path.iterdir()) == []


def test_certificates_are_read_from_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of certifi's, and before those of a directory."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "missing"))
    context = read_environment(HTX).context
    assert context is not None
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_certificates_of_a_replaced_file_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unchanged file is read once for all clients."""
    path = tmp_path / "ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    trustme.CA().cert_pem.write_to_path(str(path))
    before = read_environment(HTX).context
    assert read_environment(HTX).context is before
    path.unlink()
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_environment(HTX)
    trustme.CA(organization_name="Another").cert_pem.write_to_path(str(path))
    context = read_environment(HTX).context
    assert context is not None
    assert context is not before
    assert "Another" in f"{context.get_ca_certs()}"


def test_certificates_are_read_from_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL reads it when it verifies, and ignores an empty entry."""
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}{os.pathsep}")
    context = read_environment(HTX).context
    assert context is not None
    assert context.get_ca_certs() == []


def test_certificates_default_to_certifi() -> None:
    """They are read once for all clients."""
    context = read_environment(HTX).context
    assert context is not None
    assert len(context.get_ca_certs()) > 50
    assert Path(certifi.where()).exists()
    assert read_environment(Origin("https", "example.org", 443)).context is context


def test_key_log_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As curl and browsers do."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = read_environment(HTX).context
    assert context is not None
    assert context.keylog_filename == str(tmp_path / "keys")


def test_plain_http_needs_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a wrong file is not an error, unless the proxy needs TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", "/missing")
    assert read_environment(Origin("http", "example.org", 80)).context is None
    monkeypatch.setenv("HTTP_PROXY", "https://proxy")
    with pytest.raises(InvalidInputError, match="SSL_CERT_FILE"):
        read_environment(Origin("http", "example.org", 80))
