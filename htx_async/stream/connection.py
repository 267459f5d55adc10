"""WebSocket connections by the library websockets, which only this module knows."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from typing import Any, Final
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as _connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxyStatus,
    InvalidStatus,
    WebSocketException,
)
from websockets.version import version

from htx_async.error_codes import cause_of
from htx_async.errors import APIError, ConnectError, HTXError
from htx_async.redaction import excerpt, one_line, redact_unknown, text_of_page
from htx_async.stream.messages import PATH
from htx_async.stream.sockets import SocketClosedError
from htx_async.transports.base import HEADERS
from htx_async.transports.connect import describe, explain_certificate
from htx_async.transports.environment import Environment, Proxy, read_environment
from htx_async.validation import Origin

PING_INTERVAL, PING_TIMEOUT = 10.0, 5.0
"""Seconds between pings of our own, and until the pong must arrive. HTX sends pongs."""
VERSION: Final[str] = version
"""Version of websockets."""
_CLOSE_TIMEOUT = 1.0
_MAX_MESSAGE = 2**20
"""Bytes. HTX's pushes have some 250."""
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500
_DECODING_VERSION = 17

# At DEBUG, websockets logs each message, the signature among them. Nobody can get this logger.
_SILENT: Final = logging.Logger("htx_async.websockets", logging.CRITICAL + 1)  # noqa: LOG001 - see above
_SILENT.disabled = True
_SILENT.propagate = False


class WebSocket:
    """A connection of websockets; it pings the server itself."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        """Send a message."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            reason = _reason(error)
        else:
            return
        finally:
            del text  # it may be signed; a traceback shows the locals of its frames
        raise SocketClosedError(reason)

    async def receive(self) -> str | bytes:
        """Return the next message."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            reason = _reason(error)
        raise SocketClosedError(reason)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.close()


class _Connect(_connect):
    """Like websockets, but it does not follow redirects: the next message would be signed."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_websocket(origin: Origin) -> WebSocket:
    """
    Connect to *origin* with the proxy and TLS settings of the environment.

    Raises:
        HTXError: The reason and the fix are in its text.
        InvalidInputError: A variable is wrong.
    """
    environment = Environment(None, None)
    if origin.scheme == "https" or not origin.is_loopback:
        environment = await asyncio.to_thread(read_environment, origin)
    if environment.proxy is not None and not _can_send_password(environment.proxy):
        reason = f"websockets {VERSION} cannot send this proxy password. Install websockets>=17"
        raise _failure(origin, reason, retryable=False)
    try:
        connection = await _Connect(_url(origin), **_options(environment, origin))
    except InvalidStatus as error:
        failure = _status_error(
            error.response.status_code, bytes(error.response.body or b""), origin
        )
    except InvalidProxyStatus as error:
        failure = _proxy_error(error.response.status_code, environment.proxy, origin)
    except ssl.SSLCertVerificationError as error:
        failure = _failure(origin, explain_certificate(error), retryable=False)
    except OSError as error:
        reason = one_line(error.strerror or type(error).__name__)
        failure = _failure(origin, f"{reason}. Check the network")
    except WebSocketException as error:
        text = one_line(redact_unknown(excerpt(str(error))))
        failure = _failure(origin, f"the WebSocket handshake failed ({text})")
    else:
        return WebSocket(connection)
    # Raised outside of `except`: the library's error is not chained.
    raise failure


def _url(origin: Origin) -> str:
    scheme = "wss" if origin.scheme == "https" else "ws"
    return f"{scheme}://{str(origin).partition('://')[2]}{PATH}"


def _options(environment: Environment, origin: Origin) -> dict[str, Any]:
    options: dict[str, Any] = {
        "compression": None,
        "user_agent_header": HEADERS["User-Agent"],
        "proxy": None,
        "open_timeout": None,  # the caller limits it
        "ping_interval": PING_INTERVAL,
        "ping_timeout": PING_TIMEOUT,
        "close_timeout": _CLOSE_TIMEOUT,
        "max_size": _MAX_MESSAGE,
        "logger": _SILENT,
    }
    if origin.scheme == "https":
        options["ssl"] = environment.context
    if environment.proxy is not None:
        options["proxy"] = _proxy_url(environment.proxy)
        if environment.proxy.is_tls:
            options["proxy_ssl"] = environment.context
    return options


def _proxy_url(proxy: Proxy) -> str:
    """Return the URL of a proxy with its password, as websockets takes it."""
    return f"{'https' if proxy.is_tls else 'http'}://{_userinfo(proxy)}{proxy}"


def _userinfo(proxy: Proxy) -> str:
    """Return user and password, percent-encoded. It is a secret."""
    encoded = proxy.header.strip().rpartition(" ")[2]
    user, _, password = base64.b64decode(encoded).decode().partition(":")
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if encoded else ""


def _can_send_password(proxy: Proxy) -> bool:
    """Return whether websockets decodes what must be encoded: versions before 17 do not."""
    return int(VERSION.split(".")[0]) >= _DECODING_VERSION or "%" not in _userinfo(proxy)


def _status_error(status: int, body: bytes, origin: Origin) -> HTXError:
    """Return the error for an HTTP response that is not the handshake."""
    page = body.decode(errors="replace")
    is_page = "<" in page[:200]
    text = redact_unknown(excerpt(text_of_page(page) if is_page else page))
    cause = cause_of(None, text, status, is_page=is_page)
    kind, hint = (APIError, "") if cause is None else (cause.error, f" {cause.hint}")
    detail = f" ({text})" if text else ""
    return kind(
        f"{describe(origin)}{PATH} returned {status} instead of a WebSocket{detail}.{hint}",
        http_status=status,
        retryable=cause is not None and cause.retryable,
        delivery="answered",
    )


def _proxy_error(status: int, proxy: Proxy | None, origin: Origin) -> HTXError:
    retryable = status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS
    text = f"the proxy {proxy} returned {status}. Check its settings"
    return _failure(origin, text, retryable=retryable)


def _failure(origin: Origin, reason: str, *, retryable: bool = True) -> HTXError:
    text = f"could not connect to {describe(origin)}{PATH}: {reason}."
    return ConnectError(text, retryable=retryable)


def _reason(error: ConnectionClosed) -> str:
    """Return why the connection was closed; the other side may have written anything."""
    if error.rcvd is not None and (error.sent is None or error.rcvd_then_sent):
        return f"HTX closed the connection with code {error.rcvd.code}"
    if error.sent is not None:
        return f"the client closed the connection with code {error.sent.code}"
    return "the connection was lost"
