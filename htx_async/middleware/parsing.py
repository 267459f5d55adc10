"""
Opens the envelope that HTX's answers come in: the JSON of `data`, or a typed error.

There are two of them, and the path does not tell which: v1 says `status`, `err-code` and
`err-msg`, v2 says `code`, `message` and sometimes `success` or `ok`. Refusals come with HTTP 200.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from htx_async.clock import PLAUSIBLE_EPOCH_MS
from htx_async.error_codes import STATUSES, Code, cause_of
from htx_async.errors import (
    APIError,
    DecodeError,
    HTXError,
    RateLimitedError,
    ServiceUnavailableError,
)
from htx_async.models.wire_types import json_decoder
from htx_async.redaction import EXCERPT_LENGTH, auth_values, one_line, redact
from htx_async.request import Endpoint, Handler, Request, Response, Usual

D = TypeVar("D")

_NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ABSENT = msgspec.UNSET
_SUCCESS = 200
_SUCCESSFUL = range(200, 300)
"""What RFC 9110 calls successful: such a status tells nothing of a refusal."""
_PAGE = "That is a page of a proxy, a CDN or a login, not HTX's API."
_HEAD_BYTES = 2000
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_TOO_LARGE = 10**9
_CODE_LENGTH = 80
_IP_SEEN = re.compile(r"(?i)ip address[^:]*:\s*([0-9a-f.:]{3,45})")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


class _Envelope(msgspec.Struct, Generic[D]):
    """Both envelopes at once; a futures host writes `err_code`, some v2 answers say `ok`."""

    status: Any = _ABSENT
    code: Any = _ABSENT
    success: Any = _ABSENT
    ok: Any = _ABSENT
    message: Any = None
    err_code: Any = msgspec.field(default=None, name="err-code")
    err_msg: Any = msgspec.field(default=None, name="err-msg")
    futures_code: Any = msgspec.field(default=None, name="err_code")
    futures_msg: Any = msgspec.field(default=None, name="err_msg")
    ts: Any = None
    data: D | msgspec.UnsetType = _ABSENT


@functools.cache
def _decoder_of(kind: Any) -> msgspec.json.Decoder[_Envelope[Any]]:
    # It makes a kind of text of numbers with a point: no word of HTX's is one.
    return json_decoder(_Envelope[kind])


class EnvelopeParsing(msgspec.Struct, frozen=True):
    call_next: Handler
    server_clock: Any
    clock: Any
    events: Any

    async def __call__(self, request: Request) -> Response:
        """Return the answer with its `data`, or with the error that it is."""
        response = await self.call_next(request)
        if response.error is None:
            response = open_envelope(request.endpoint, response)
        if response.server_time is not None:
            self.server_clock.observe(response.server_time, response.first_byte_at)
        if response.error is None:
            try:
                response = replace(response, value=request.endpoint.read(response.data))
            except DecodeError as error:
                error.endpoint, error.http_status = request.endpoint.name, response.status
                response = replace(response, error=error)
        return response


def open_envelope(endpoint: Endpoint[Any], response: Response) -> Response:
    """Return *response* with its `data`, or with the error that it is."""
    envelope = _usual(endpoint.usual, response.body) or _any(response.body)
    if envelope is None:
        return replace(response, error=_unreadable(endpoint.name, response))
    # Only now: the date of a page that is not HTX's says nothing of HTX's clock.
    at, error = _time_of(response, envelope), _error_in(envelope, endpoint.name, response)
    if error is not None or envelope.data is _ABSENT:
        return replace(response, server_time=at, error=error)
    data = envelope.data
    return replace(
        response, server_time=at, data=memoryview(data) if type(data) is msgspec.Raw else data
    )


def _usual(usual: Usual | None, body: bytes) -> _Envelope[Any] | None:
    """Return an envelope whose `data` is as usual: to read it twice would take a sixth longer."""
    if usual is None:
        return None
    try:
        envelope = _decoder_of(usual.kind).decode(body)
    except _NO_JSON:
        return None
    data = envelope.data
    return envelope if isinstance(data, usual.kind) and usual.is_right(data) else None


def _any(body: bytes) -> _Envelope[Any] | None:
    """Return an envelope with the JSON of its `data`."""
    try:
        return _decoder_of(msgspec.Raw).decode(body)
    except _NO_JSON:
        return None


def _error_in(envelope: _Envelope[Any], endpoint: str, response: Response) -> HTXError | None:
    """Return what is wrong with an answer; `None`: it has its `data`."""
    verdict = _verdict(envelope)
    if isinstance(verdict, _Refusal):
        return _refused(endpoint, response, verdict)
    if response.status not in _SUCCESSFUL:
        return _refused(endpoint, response, _Refusal(None, ""))
    if verdict or envelope.data is _ABSENT:
        return _malformed(endpoint, response, verdict or "data")
    return None


def _time_of(response: Response, said: _Envelope[Any]) -> float | None:
    """Return HTX's time of day: by the header, which is when it answered, else by the body."""
    at = _date(response.headers.get("date", ""))
    if at is None and isinstance(said.ts, int) and said.ts in PLAUSIBLE_EPOCH_MS:
        return said.ts / 1000
    return at


@functools.lru_cache(maxsize=4)
def _date(header: str) -> float | None:
    """Return the middle of the second that a `Date` header names."""
    from email.utils import mktime_tz, parsedate_tz  # noqa: PLC0415 - brings ten modules

    parsed = parsedate_tz(header)
    try:
        return mktime_tz(parsed) + 0.5 if parsed else None
    except (ValueError, OverflowError):
        return None


class _Refusal(msgspec.Struct, frozen=True):
    code: Code
    text: str


def _verdict(said: _Envelope[Any]) -> _Refusal | str:
    """Return the refusal that an envelope is, or where it is malformed; "": neither."""
    if type(said.status) is str:  # v1, and answers that are both: margin balances
        if said.status == "ok":
            return ""
        code = _code(said.err_code) or _code(said.futures_code) or _code(said.code)
        return _Refusal(code, _text(said.err_msg, said.futures_msg, said.message))
    code = _code(said.code)
    if code is None:
        return "status" if said.code is _ABSENT else "code"
    refused = code != _SUCCESS or _is_false(said.success) or _is_false(said.ok)
    return _Refusal(code, _text(said.message)) if refused else ""


def _code(code: object) -> Code:
    """Return a code as text, or as a number also where HTX wrote the number as text."""
    if type(code) is str:
        return int(code) if _NUMBER.fullmatch(code) else code
    if isinstance(code, int) and not isinstance(code, bool) and abs(code) < _TOO_LARGE:
        return code
    return None


def _text(*said: object) -> str:
    """Return the first that is text, and not empty."""
    return next((text for text in said if type(text) is str and text), "")


def _is_false(flag: object) -> bool:
    return flag is False or (isinstance(flag, str) and flag.lower() == "false")


def _refused(endpoint: str, response: Response, said: _Refusal) -> APIError:
    """Return the refusal by its name, with what to do about it."""
    kind, retryable, hint = _by_status(response.status)
    cause = cause_of(said.code, said.text)
    if cause is not None and kind is not RateLimitedError:
        kind, retryable, hint = cause.error, cause.retryable, cause.hint
    code = _clean(said.code, response, _CODE_LENGTH) if isinstance(said.code, str) else said.code
    message = _clean(said.text, response)
    if seen := _IP_SEEN.search(message):
        hint = f"{hint} HTX saw {seen[1]}."
    return _error(kind, endpoint, response, retryable, hint, code, message)


def _unreadable(endpoint: str, response: Response) -> HTXError:
    """Return what a body is that is no JSON: a page of somebody else, or a broken answer."""
    head = _clean(response.body[:_HEAD_BYTES].decode(errors="replace"), response)
    kind, retryable, hint = _by_status(response.status)
    successful = response.status in _SUCCESSFUL
    if head.startswith("<") and kind is not RateLimitedError:
        kind, retryable, hint = ServiceUnavailableError, retryable or successful, f"{_PAGE} {hint}"
    elif successful:
        return _malformed(endpoint, response, "", head)
    return _error(kind, endpoint, response, retryable, hint, None, head)


def _error(  # noqa: PLR0917 - the columns of the table, and what was said
    kind: type[APIError],
    endpoint: str,
    response: Response,
    retryable: bool,  # noqa: FBT001 - a column
    hint: str,
    code: Code,
    message: str,
) -> APIError:
    words = [str(code)] if code is not None else []
    if response.status != 200:  # noqa: PLR2004 - then HTTP tells nothing
        words.insert(0, f"HTTP {response.status}")
    words += [message] if message else []
    sentence = ": ".join(words) or "without a reason"
    return kind(
        f"HTX refused: {sentence.rstrip('.')}. {hint}".strip(),
        endpoint=endpoint,
        retryable=retryable,
        code=code,
        message=message or None,
        http_status=response.status,
        retry_after=_retry_after(response),
    )


def _malformed(endpoint: str, response: Response, path: str, head: str = "") -> DecodeError:
    head = head or _clean(response.body[:_HEAD_BYTES].decode(errors="replace"), response)
    what = f"`{path}` is missing or malformed" if path else "it is not a JSON object"
    text = f"the answer cannot be read: {what}. It begins: {head or '(it is empty)'}"
    return DecodeError(text, path=path, endpoint=endpoint, http_status=response.status)


def _by_status(status: int) -> tuple[type[APIError], bool, str]:
    for statuses, kind, retryable, hint in STATUSES:
        if status in statuses:
            return kind, retryable, hint
    return APIError, False, ""


def _clean(text: str, response: Response, limit: int = EXCERPT_LENGTH) -> str:
    return one_line(redact(text, auth_values(response.sent_query)), limit)


def _retry_after(response: Response) -> float | None:
    given = response.headers.get("retry-after", "").strip()
    return float(given) if _SECONDS.fullmatch(given) else None
