"""TLS and proxy settings of the environment."""

from __future__ import annotations

import base64
import functools
import ipaddress
import os
import ssl
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

import attrs

from htx_async.errors import InvalidInputError
from htx_async.redaction import one_line
from htx_async.validation import DEFAULT_PORTS, Origin, has_valid_brackets, valid_host


@attrs.frozen
class Proxy:
    """
    An HTTP proxy.

    Attributes:
        is_tls: Whether the connection to the proxy itself is encrypted.
        setting: Where it was set: the name of a variable.
        header: The line of the header `Proxy-Authorization`; empty: none.
    """

    host: str
    port: int
    is_tls: bool
    setting: str
    header: str = attrs.field(default="", repr=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Environment:
    """
    How to reach an origin.

    Attributes:
        context: For TLS with the origin and with the proxy; `None`: not needed.
        proxy: The proxy; `None`: connect directly.
    """

    context: ssl.SSLContext | None
    proxy: Proxy | None


def read_environment(origin: Origin) -> Environment:
    """
    Return the settings for *origin*. Slow if certificates are read: call it in a thread.

    Raises:
        InvalidInputError: A variable is wrong.
    """
    proxy = proxy_for(origin)
    return Environment(tls_context_for(origin, proxy), proxy)


def tls_context_for(origin: Origin, proxy: Proxy | None) -> ssl.SSLContext | None:
    """
    Return the context for TLS with *origin* and *proxy*; `None`: neither uses TLS.

    Raises:
        InvalidInputError: A variable is wrong.
    """
    if origin.scheme != "https" and not (proxy and proxy.is_tls):
        return None
    variables = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
    cert_file, cert_dir, key_log_file = (os.environ.get(name, "").strip() for name in variables)
    return tls_context(cert_file, cert_dir, key_log_file, _file_version(cert_file))


def _file_version(path: str) -> tuple[int, ...]:
    """Return numbers that differ once the file at *path* is replaced or changed."""
    try:
        status = os.stat(path)  # noqa: PTH116 - an empty `Path` is the current directory
    except OSError:
        return ()  # `tls_context` raises an error that explains it
    return status.st_mtime_ns, status.st_size, status.st_ino


@functools.lru_cache(maxsize=8)
def tls_context(
    cert_file: str, cert_dir: str, key_log_file: str, file_version: tuple[int, ...]
) -> ssl.SSLContext:
    """Return a context with the certificates of a file, a directory, or else of certifi."""
    del file_version  # only part of the cache's key
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    problem = None
    try:
        if cert_file:
            context.load_verify_locations(cafile=cert_file)
        elif cert_dir:
            for directory in filter(None, cert_dir.split(os.pathsep)):
                os.scandir(directory).close()  # OpenSSL ignores a directory that it cannot read
            context.load_verify_locations(capath=cert_dir)
        else:
            import certifi  # noqa: PLC0415 - slow import, and not always needed

            context.load_verify_locations(cafile=certifi.where())
    except ssl.SSLError:
        problem = f"{one_line(cert_file)} does not contain certificates in PEM format"
    except OSError as error:
        problem = f"{one_line(error.filename or cert_file)} cannot be read ({error.strerror})"
    if problem is not None:
        _reject("SSL_CERT_FILE" if cert_file else "SSL_CERT_DIR", problem)
    try:
        if key_log_file:
            context.keylog_filename = key_log_file
    except OSError as error:
        problem = f"{one_line(key_log_file)} cannot be opened ({error.strerror})"
    if problem is not None:
        _reject("SSLKEYLOGFILE", problem)
    return context


def proxy_for(origin: Origin) -> Proxy | None:
    """Return the proxy for *origin* that the environment or the system settings name."""
    if origin.is_loopback:
        return None
    from urllib import request as urllib  # noqa: PLC0415 - slow import, not needed for loopback

    proxies = urllib.getproxies()
    kind = next((kind for kind in (origin.scheme, "all") if proxies.get(kind, "").strip()), None)
    # The first knows names, with subdomains and ports, and the settings of some systems.
    is_bypassed = urllib.proxy_bypass(f"{origin.host}:{origin.port}")
    if kind is None or is_bypassed or _is_in_networks(origin, proxies.get("no", "")):
        return None
    setting = _variable(kind, proxies[kind])
    proxy, problem = _parse_proxy(proxies[kind].strip(), setting)
    if proxy is None:
        del proxies  # they may contain a password, as the frames of a traceback would
        _reject(setting, problem)
    return proxy


def _reject(setting: str, problem: str) -> None:
    msg = f"{setting}: {problem}"
    raise InvalidInputError(msg)


def _variable(kind: str, value: str) -> str:
    """Return the name of the variable for *kind* with *value*, in lower case if there are two."""
    variable = f"{kind}_proxy"
    names = [name for name in os.environ if name.lower() == variable and os.environ[name] == value]
    return min(names, key=lambda name: name != name.lower(), default="the system's proxy setting")


def _parse_proxy(url: str, setting: str) -> tuple[Proxy | None, str]:
    """Return the proxy at *url*, or what is wrong with it. It may contain a password."""
    if not url.isprintable():  # such as a newline, or a byte that is not UTF-8
        return None, "the URL of the proxy has an unprintable character. Percent-encode it"
    parts: SplitResult | None
    port: int | None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
        host = valid_host((parts.hostname or "").encode("idna").decode())
        host = host if has_valid_brackets(parts.netloc) else ""
    except ValueError:  # `UnicodeError` is one
        return None, "the URL of the proxy has an invalid host or port"
    if parts.scheme.startswith("socks"):
        return None, (
            "SOCKS proxies are not supported. Pass "
            'transport=httpx.AsyncHTTPTransport(proxy="socks5://host:port") '
            '(pip install "httpx[socks]") or use an HTTP proxy'
        )
    if parts.scheme not in DEFAULT_PORTS or not host or not port:
        return None, "must be the URL of an HTTP proxy, for example http://proxy.example:3128"
    header = ""
    if parts.username is not None:
        userinfo = unquote_to_bytes(f"{parts.username}:{parts.password or ''}")
        header = f"Proxy-Authorization: Basic {base64.b64encode(userinfo).decode()}\r\n"
    return Proxy(host, port, parts.scheme == "https", setting, header), ""


def _is_in_networks(origin: Origin, no_proxy: str) -> bool:
    """Return whether `NO_PROXY` lists the network or address of *origin*."""
    entries = [entry.strip() for entry in no_proxy.split(",")]
    return "*" in entries or any(_contains(entry, origin) for entry in entries)


def _contains(entry: str, origin: Origin) -> bool:
    """Return whether *entry* is the network or address of *origin*, with or without its port."""
    suffix = f":{origin.port}"
    bare = entry.removesuffix(suffix) if entry.endswith(f"]{suffix}") else entry
    try:
        return ipaddress.ip_address(origin.host) in ipaddress.ip_network(
            bare.strip("[]"), strict=False
        )
    except ValueError:
        return False
