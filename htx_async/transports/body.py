"""Reads the body of a response: decompressed, and never more than `max_body` bytes of it."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import AsyncIterable, Mapping
from typing import Any

from htx_async.errors import DecodeError, NoResponseError
from htx_async.request import Request, Response

_GZIP = zlib.MAX_WBITS | 16
_ERROR_STATUS = 400


class CutBodyError(NoResponseError):
    """The body ended before its gzip stream."""


async def read_body(
    request: Request,
    status: int,
    headers: Mapping[str, str],
    chunks: AsyncIterable[bytes],
    *,
    first_byte_at: float,
    max_body: int,
) -> Response:
    """
    Return the response to *request* with its whole body, which arrives in *chunks*.

    A body that cannot be read is the response's `error`; with an error status, it is empty.

    Raises:
        CutBodyError: The body was cut.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    body, error = b"", None
    try:
        body = await _read(chunks, encoding, max_body)
    except DecodeError as failure:
        if status < _ERROR_STATUS:  # else the status says more
            error = failure.with_traceback(None)
    return Response(status, headers, body, first_byte_at, request.query, error=error)


async def _read(chunks: AsyncIterable[bytes], encoding: str, max_body: int) -> bytes:
    if encoding not in ("identity", "gzip", ""):
        msg = f"the body has an encoding that was not requested: {encoding:.20}"
        raise DecodeError(msg)
    decompressor = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    parts: list[bytes] = []
    room = max_body
    async for chunk in chunks:
        part = chunk if decompressor is None else _decompress(decompressor, chunk, room + 1)
        room -= len(part)
        if room < 0:
            msg = f"the body is larger than {max_body:,} bytes (max_body)"
            raise DecodeError(msg)
        parts.append(part)
    if decompressor is not None and not decompressor.eof and parts:
        msg = "the body was cut: its gzip stream has no end"
        raise CutBodyError(msg)
    return b"".join(parts)


def _decompress(decompressor: Any, chunk: bytes, most: int) -> bytes:
    if decompressor.eof:
        msg = "the body continues after the end of its gzip stream"
        raise DecodeError(msg)
    part: bytes | None = None
    with contextlib.suppress(zlib.error):  # so that it is not chained
        part = decompressor.decompress(chunk, most)
    if part is None:
        msg = "the body is not valid gzip"
        raise DecodeError(msg)
    return part
