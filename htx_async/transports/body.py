"""The body of an answer, as it comes in: unzipped, and no more of it than is wanted."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Mapping

from htx_async.errors import DecodeError, NoResponseError
from htx_async.request import Request, Response

_GZIP = zlib.MAX_WBITS | 16


async def read(
    request: Request,
    status: int,
    headers: Mapping[str, str],
    chunks: AsyncIterable[bytes],
    *,
    began: float,
    max_body: int,
) -> Response | NoResponseError:
    """Return the answer to *request* with its whole body, which comes in *chunks*."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    body = await _body(chunks, encoding, max_body)
    if isinstance(body, NoResponseError):
        return body
    if isinstance(body, DecodeError) and status >= 400:  # noqa: PLR2004
        body = b""  # the status tells more
    if isinstance(body, DecodeError):
        return Response(status, headers, b"", began, request.query, error=body)
    return Response(status, headers, body, began, request.query)


async def _body(
    chunks: AsyncIterable[bytes], encoding: str, max_body: int
) -> bytes | DecodeError | NoResponseError:
    """Read the whole body, unzipped; one that grows over *max_body* is not held."""
    if encoding not in ("identity", "gzip", ""):
        return DecodeError(f"the body comes in an encoding nobody asked for: {encoding:.20}")
    unzip = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    parts: list[bytes] = []
    room = max_body
    try:
        async for chunk in chunks:
            if unzip is not None and unzip.eof:
                return DecodeError("the body goes on after its gzip stream has ended")
            part = chunk if unzip is None else unzip.decompress(chunk, room + 1)
            room -= len(part)
            if room < 0:
                return DecodeError(f"the body is larger than {max_body:,} bytes (max_body)")
            parts.append(part)
    except zlib.error:
        return DecodeError("the body says gzip, and is not")
    if unzip is not None and not unzip.eof and parts:
        return NoResponseError("the body was cut: its gzip stream has no end")
    return b"".join(parts)
