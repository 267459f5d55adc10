"""
Strict parser of HTTP/1.1 responses on httptools (llhttp).

It does no I/O: it is given bytes and the time at which they arrived. A parser reads the response
to one request, so that no byte of a response can become part of the next one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from htx_async.request import no_action
from htx_async.transports.http_errors import FailureKind
from htx_async.transports.http_response import HTTPResponse, size_limit, too_large

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers, those of informational responses included. The same limit
applies to bytes without content within a body: chunk extensions and trailers."""

_INVALID: FailureKind = "RemoteProtocolError"
_CONTROL_CHARACTER = re.compile(rb"[^\t -~\x80-\xff]")
_STATUS_AT = len("HTTP/1.1 ")
_LINE_END = b"\r\n"
_FIRST_FINAL_STATUS = 200
_INFORMATIONAL = (100, *range(102, _FIRST_FINAL_STATUS))  # 101 was not requested
_WITHOUT_BODY = (204, 304)


class ResponseParser:
    """
    Parser of the response to one request. Informational responses (100, 103) are skipped.

    Args:
        max_body: Largest body in bytes, decompressed; as it arrives, it is hardly larger.
        has_no_body: Whether the response ends with its headers: that to HEAD, and to CONNECT.

    Attributes:
        is_complete: Whether the response is complete.
        failure: Why there will not be a response: the arguments of an `ExchangeError`.
        keep_alive: Whether the server keeps the connection open after this response.
        has_surplus: Whether bytes arrived after this response: the connection must not be reused.
    """

    def __init__(self, *, max_body: int, has_no_body: bool = False) -> None:
        self._max_body = self._max_size = max_body
        self._has_no_body = has_no_body
        self._llhttp = HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._fields: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._status = self._head_size = self._size = self._overhead = 0
        self._is_head_complete = self._is_informational = self._reads_until_eof = False
        self._is_at_start = True
        self._http_version, self._reason = "", b""
        self._problem: str | None = None
        self._now = 0.0
        self.first_byte_at: float = 0.0
        self.is_complete: bool = False
        self.keep_alive: bool = False
        self.has_surplus: bool = False
        self.failure: tuple[str, FailureKind] | None = None

    @property
    def is_done(self) -> bool:
        """Whether no more bytes are needed."""
        return self.is_complete or self.failure is not None

    @property
    def allows_reuse(self) -> bool:
        """Whether the connection can carry another request."""
        return self.keep_alive and not self.has_surplus

    def feed(self, data: memoryview, now: float) -> bool:
        """Parse *data*, which arrived at *now*, and return whether no more bytes are needed."""
        self._now = now
        if self.is_done:
            self.has_surplus = True
        elif self._is_head_complete:
            self._feed_body(data)
        else:
            self._feed_head(data)
        return self.is_done

    def feed_eof(self) -> None:
        """Record that the connection was closed in good order."""
        self.keep_alive = False
        if self._reads_until_eof and self.failure is None:
            self.is_complete = True
        self.connection_lost()

    def connection_lost(self, reason: str = "the connection was closed") -> None:
        """Record that no more bytes will arrive."""
        when = "before the response was complete" if self._head_size else "without a response"
        self._fail(f"{reason} {when}", "ReadError")

    def timed_out(self) -> None:
        """Record that the response did not arrive in time."""
        what = "no complete response" if self._head_size else "no response"
        self._fail(f"{what} in time", "ReadTimeout")

    def close(self) -> None:
        """Release llhttp's parser, which refers to this object."""
        del self._llhttp

    def response(self, close_connection: Callable[[], object] = no_action) -> HTTPResponse:
        """Return the complete response; raise `ExchangeError` if its gzip stream was cut."""
        assert self.is_complete
        return HTTPResponse(
            self._status,
            self._headers,
            b"".join(self._parts),
            self.first_byte_at,
            self._problem,
            close_connection,
            self._http_version,
            self._reason,
        ).decompressed(self._max_body)

    def _feed_head(self, data: memoryview) -> None:
        # llhttp skips line ends before a status line, and accepts RTSP. After an informational
        # response, a status line can be checked only if each byte is parsed by itself. The same
        # holds for surplus after a head without a body: llhttp may take it for a chunk header.
        is_bytewise = (
            self._has_no_body
            or self._head_size > 0
            or len(data) <= _STATUS_AT
            or data[_STATUS_AT] == ord("1")
        )
        while data and not self._is_head_complete and not self.is_done:
            room = MAX_HEAD - self._head_size
            part = data[: 1 if is_bytewise else room]
            data = data[len(part) :]
            self._head_size += len(part)
            if not room:
                self._fail(f"the headers exceed {MAX_HEAD:,} bytes")
            elif self._is_at_start and part[0] != ord("H"):
                self._fail("the response is not HTTP")
            else:
                self._is_at_start = False
                self._feed(part)
        if data:
            self.feed(data, self._now)

    def _feed_body(self, data: memoryview) -> None:
        size = self._size
        self._feed(data)
        self._overhead = 0 if self._size > size else self._overhead + len(data)
        if self._overhead > MAX_HEAD:
            self._fail(f"chunk headers or trailers exceed {MAX_HEAD:,} bytes")

    def _feed(self, data: memoryview) -> None:
        if data[-1] in _LINE_END and len(data) > 1:
            # llhttp skips line ends after a response, too: only the last byte may complete it.
            self._execute(data[:-1])
            if self.is_complete:
                self.has_surplus = True
                return
            data = data[-1:]
        self._execute(data)

    def _execute(self, data: memoryview) -> None:
        try:
            self._llhttp.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            problem = str(error)
        else:
            return
        self.has_surplus = True
        self._fail(f"the response is not valid HTTP ({problem})")

    def _fail(self, text: str, kind: FailureKind = _INVALID) -> None:
        """Record a failure, unless the response is complete."""
        if not self.is_done:
            self.failure = text, kind

    def _reject_body(self, problem: str) -> None:
        self._problem = problem
        self._parts.clear()
        self.is_complete = True

    # Callbacks of httptools. They record problems: what they raise, it would wrap and chain.

    def on_message_begin(self) -> None:
        """Record the start of a response; after another one, it is surplus."""
        if self.is_complete:
            self.has_surplus = True
        else:
            self.first_byte_at = self._now
            self._reason = b""

    def on_status(self, part: bytes) -> None:
        """Keep a part of the reason phrase."""
        if not self.is_done:
            self._reason += part
        if _CONTROL_CHARACTER.search(part):
            self._fail("the response has a control character in its status line")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, but not a trailer."""
        if not self._is_head_complete:
            self._headers.append((name.lower(), value.strip()))
        elif name.lower() == b"transfer-encoding":
            self._fail("the response has a transfer encoding in its trailers")

    def on_headers_complete(self) -> None:
        """Check what llhttp accepts and we do not, and find out how the body ends."""
        if self.is_done:
            return
        status = self._llhttp.get_status_code()
        fields = self._fields = dict(self._headers)
        has_length, has_encoding = b"content-length" in fields, b"transfer-encoding" in fields
        self._is_informational = status < _FIRST_FINAL_STATUS
        if self._is_informational:
            if status not in _INFORMATIONAL:
                self._fail(f"the response has status {status}")
            elif has_length or has_encoding:
                self._fail(f"the response with status {status} has a body")
            return
        self._http_version = self._llhttp.get_http_version()
        if self._http_version not in ("1.1", "1.0"):
            self._fail("the response is not HTTP/1.1 or HTTP/1.0")
        encodings = [value.lower() for name, value in self._headers if name == b"transfer-encoding"]
        if has_encoding and encodings != [b"chunked"]:
            self._fail("the transfer encoding is not chunked")
        self._status, self._is_head_complete = status, True
        if self._has_no_body:
            self.on_message_complete()
        elif status not in _WITHOUT_BODY:
            self._reads_until_eof = not has_length and not has_encoding
            self._max_size = size_limit(self._headers, self._max_body)
            if has_length and int(fields[b"content-length"]) > self._max_size:
                self._reject_body(too_large(self._max_body))

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        if self.is_complete:
            self.has_surplus = True
            return
        self._size += len(part)
        self._parts.append(part)
        if self._size > self._max_size:
            self._reject_body(too_large(self._max_body))

    def on_message_complete(self) -> None:
        """Record the end of the response; informational ones are skipped."""
        if self._is_informational:
            self._headers.clear()
            self._is_at_start = True
        elif not self.is_done:
            self.is_complete = True
            self.keep_alive = self._llhttp.should_keep_alive()
