"""
Parses the response envelope into the model of `data`, or a typed error.

HTX has two envelopes, and the path does not determine which one a response has: v1 has `status`,
`err-code` and `err-msg`, v2 has `code`, `message` and sometimes `success` or `ok`. API errors may
have HTTP status 200.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
import msgspec
from msgspec.structs import replace

from htx_async.clock import PLAUSIBLE_EPOCH_MS, Clock
from htx_async.error_codes import HTTP_STATUS_ERRORS, Code, cause_of
from htx_async.errors import (
    APIError,
    DecodeError,
    HTXError,
    RateLimitedError,
    ServiceUnavailableError,
)
from htx_async.middleware.schema_drift import SchemaDriftReporter
from htx_async.models import decoding
from htx_async.models.wire_types import BrokenText, InvalidValueError
from htx_async.redaction import EXCERPT_LENGTH, auth_values, one_line, redact
from htx_async.request import Endpoint, Handler, Request, Response

D = TypeVar("D")

_ErrorRow: TypeAlias = tuple[type[APIError], bool, str]
"""Class of an error, whether it is retryable, and the hint."""

LARGE_BODY = 64 * 1024
"""Bytes from which a response is decoded by a caller: see `SharedCall.decode_in_caller`."""
_SUCCESS = 200
"""HTTP's status and HTX's code."""
_SUCCESSFUL = range(200, 300)
"""RFC 9110: such a status is not an error."""
_PAGE = "That is a page of a proxy, a CDN or a login, not HTX's API."
_EXCERPT_BYTES = 2000
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_TOO_LARGE = 10**9
_CODE_LENGTH = 80
_LOCAL_TIME = Clock().now
_CLIENT_IP = re.compile(r"(?i)ip address[^:]*:\s*([0-9a-f.:]{3,45})")
_SECONDS = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")


class _Envelope(msgspec.Struct, Generic[D]):
    """Both envelopes at once. Futures hosts write `err_code`, some v2 responses have `ok`."""

    status: Any = None
    code: Any = msgspec.UNSET
    success: Any = None
    ok: Any = None
    message: Any = None
    err_code: Any = msgspec.field(default=None, name="err-code")
    err_msg: Any = msgspec.field(default=None, name="err-msg")
    futures_code: Any = msgspec.field(default=None, name="err_code")
    futures_msg: Any = msgspec.field(default=None, name="err_msg")
    ts: Any = None
    data: D | msgspec.UnsetType = msgspec.UNSET


class _ErrorPayload(msgspec.Struct, frozen=True):
    code: Code
    text: str


class EnvelopeParsing(msgspec.Struct, frozen=True):
    """
    Middleware that parses responses. It attaches errors; rate limiting raises them.

    Attributes:
        call_next: The next handler.
        on_server_time: Called with HTX's wall clock, and the time of the first byte in monotonic
            seconds.
        drift: Reports what the models do not know.
        server_now: Returns HTX's wall clock, as far as the client knows it.
        clock: Source of `received_at`; `None`: models do not have one.
    """

    call_next: Handler
    on_server_time: Callable[[float, float], None] | None = None
    drift: SchemaDriftReporter | None = None
    server_now: Callable[[], float] = _LOCAL_TIME
    clock: Clock | None = None

    async def __call__(self, request: Request) -> Response:
        """Return the response with its `value` or `error`."""
        response = await self.call_next(request)
        if response.error is None:
            decode_in_caller = request.call.decode_in_caller
            if decode_in_caller is None or len(response.body) < LARGE_BODY:
                response = self._parse(request, response)
            else:
                parse = functools.partial(self._parse, request, response)
                del response  # its memory
                response = await decode_in_caller(parse)
        if self.on_server_time is not None and response.server_time is not None:
            self.on_server_time(response.server_time, response.first_byte_at)
        return response

    def _parse(self, request: Request, response: Response) -> Response:
        parsed = parse_response(request.endpoint, response, self.server_now)
        if request.account_id is not None:
            parsed = _check_account(request, request.account_id, parsed)
        if self.clock is not None and hasattr(parsed.value, "received_at"):
            now = self.clock.now() - (self.clock.monotonic() - parsed.first_byte_at)
            value = attrs.evolve(parsed.value, received_at=datetime.fromtimestamp(now, UTC))
            parsed = replace(parsed, value=value)
        if self.drift is not None and not isinstance(parsed.error, APIError):
            self.drift.inspect(request, parsed)
        return parsed


def parse_response(
    endpoint: Endpoint[Any], response: Response, server_now: Callable[[], float] = _LOCAL_TIME
) -> Response:
    """Return *response* with its `value`, or with its `error`."""
    parsed = _parse_body(endpoint, response)
    if isinstance(parsed.error, APIError):
        parsed.error.retry_after = _retry_after(response.headers, server_now)
    return parsed


def _parse_body(endpoint: Endpoint[Any], response: Response) -> Response:
    data_type: Any = endpoint.data_type
    exact = decoding.decode_as(response.body, _envelope_type(data_type))
    envelope = exact or _decode_error_envelope(response.body) or _decode_raw(response.body)
    if envelope is None:
        return replace(response, error=_not_json(endpoint.name, response))
    # Only now: the date of a page that is not HTX's is not that of HTX's clock.
    time, error = _server_time(response, envelope), _error_in(envelope, endpoint.name, response)
    if error is not None:
        return replace(response, server_time=time, error=error)
    # Errors below are without an excerpt: `data` is private, and may repeat the request.
    if exact is None and (data_type is bytes or not decoding.is_utf8(response.body)):
        fault = "it is not UTF-8 text, or a value cannot be represented"
        error = _decode_error(endpoint.name, response, "", fault)
        return replace(response, server_time=time, error=error)
    try:
        wire = envelope.data if exact is not None else decoding.convert(envelope.data, data_type)
        value = decoding.structure(wire, data_type)
    except InvalidValueError as invalid:
        path = f"data{invalid.path}"
        error = _decode_error(endpoint.name, response, path, f"{path} {invalid.fault}")
        return replace(response, server_time=time, error=error)
    return replace(response, server_time=time, value=value)


def _check_account(request: Request, account_id: int, response: Response) -> Response:
    """Attach an error if the data is that of another account: a response to another request."""
    if response.error is not None or response.value.id == account_id:
        return response
    response.close_connection()
    fault = "data.id is that of another account"
    error = _decode_error(request.endpoint.name, response, "data.id", fault)
    return replace(response, value=None, error=error)


@functools.cache
def _envelope_type(data_type: Any) -> Any:
    return _Envelope[decoding.wire_type(data_type)]  # type: ignore[misc]  # derived at run time


def _decode_error_envelope(body: bytes) -> _Envelope[Any] | None:
    """Return the envelope of an API error, whatever its `data` is; `None` if it is not one."""
    envelope: _Envelope[Any] | None = decoding.decode_as(body, _Envelope[msgspec.Raw])
    is_error = envelope is not None and isinstance(_parse_status(envelope), _ErrorPayload)
    return envelope if is_error else None


def _decode_raw(body: bytes) -> _Envelope[Any] | None:
    """
    Return the envelope of a body that does not have the expected types; `None`: not an envelope.

    Only an error is accepted from it, also if its text is cut or not UTF-8: its code decides.
    """
    try:
        fields = decoding.load_json(body.decode(errors="replace"))
    except InvalidValueError:
        return None
    return msgspec.convert(fields, _Envelope[Any]) if isinstance(fields, dict) else None


def _error_in(envelope: _Envelope[Any], endpoint: str, response: Response) -> HTXError | None:
    """Return the error that a response is; `None` if it has `data`."""
    parsed = _parse_status(envelope)
    if isinstance(parsed, _ErrorPayload):
        return _api_error(endpoint, response, parsed)
    if response.status not in _SUCCESSFUL:
        return _api_error(endpoint, response, _ErrorPayload(None, ""))
    if parsed or envelope.data is msgspec.UNSET:
        path = parsed or "data"
        return _malformed(endpoint, response, path, f"`{path}` is missing or malformed")
    return None


def _server_time(response: Response, envelope: _Envelope[Any]) -> float | None:
    """Return HTX's wall clock: by the header, which is when it responded, else by the body."""
    time = _parse_date(response.headers.get("date", ""))
    if time is not None:
        return time + 0.5  # the middle of the second
    is_time = isinstance(envelope.ts, int) and envelope.ts in PLAUSIBLE_EPOCH_MS
    return envelope.ts / 1000 if is_time else None


@functools.lru_cache(maxsize=4)
def _parse_date(header: str) -> float | None:
    """Return the time in a header, in seconds since 1970; `None` if it is not an HTTP date."""
    from email.utils import parsedate_tz  # noqa: PLC0415 - imports ten modules

    parsed = parsedate_tz(header)
    try:
        return datetime(*parsed[:6], tzinfo=UTC).timestamp() - (parsed[9] or 0) if parsed else None
    except (ValueError, OverflowError):
        return None


def _retry_after(headers: Mapping[str, str], server_now: Callable[[], float]) -> float | None:
    """
    Return the seconds in `Retry-After`, at least 0; `None` if it is missing or malformed.

    RFC 9110, section 10.2.3: seconds, or a date. That is compared with the `Date` of the response,
    because the local clock may be wrong.
    """
    header = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(header):
        return max(0.0, float(header))
    until, date = _parse_date(header), _parse_date(headers.get("date", ""))
    if until is None:
        return None
    return max(0.0, until - (server_now() if date is None else date))


def _parse_status(envelope: _Envelope[Any]) -> _ErrorPayload | str:
    """Return the error in an envelope, or the field that is malformed; "": neither."""
    if isinstance(envelope.status, str | BrokenText):  # v1, or both: margin balances
        if envelope.status == "ok":
            return ""
        codes = (envelope.err_code, envelope.futures_code, envelope.code)
        code = next((code for code in map(_code, codes) if code), None)
        return _ErrorPayload(
            code, _first_text(envelope.err_msg, envelope.futures_msg, envelope.message)
        )
    code = _code(envelope.code)
    if code is None:
        return "status" if envelope.code is msgspec.UNSET else "code"
    if code != _SUCCESS or _means_false(envelope.success) or _means_false(envelope.ok):
        return _ErrorPayload(code, _first_text(envelope.message))
    return ""


def _code(code: object) -> Code:
    """Return a code as text, or as a number, also where HTX wrote the number as text."""
    if isinstance(code, str):
        return int(code) if _NUMBER.fullmatch(code) else code
    if isinstance(code, int) and not isinstance(code, bool) and abs(code) < _TOO_LARGE:
        return code
    return None


def _first_text(*values: object) -> str:
    """Return the first of *values* that is text and not empty."""
    texts = (value.text if isinstance(value, BrokenText) else value for value in values)
    return next((text for text in texts if isinstance(text, str) and text), "")


def _means_false(flag: object) -> bool:
    return flag is False or (isinstance(flag, str) and flag.lower() == "false")


def _api_error(endpoint: str, response: Response, payload: _ErrorPayload) -> APIError:
    """Return the error of the class that its code and text mean, with a hint."""
    kind, retryable, hint = _by_status(response.status)
    cause = cause_of(payload.code, payload.text)
    if cause is not None and kind is not RateLimitedError:
        kind, retryable, hint = cause.error, cause.retryable, cause.hint
    code, message = payload.code, _sanitize(payload.text, response)
    if isinstance(code, str):
        code = _sanitize(code, response, _CODE_LENGTH)
    if address := _CLIENT_IP.search(message):
        hint = f"{hint} HTX saw {address[1]}."
    return _create_error(endpoint, response, (kind, retryable, hint), code, message)


def _not_json(endpoint: str, response: Response) -> HTXError:
    """Return the error for a body that is not a JSON object: another server's page, or broken."""
    excerpt = _excerpt(response)
    kind, retryable, hint = _by_status(response.status)
    is_successful = response.status in _SUCCESSFUL
    if excerpt.startswith("<") and kind is not RateLimitedError:
        kind, hint = ServiceUnavailableError, f"{_PAGE} {hint}"
        retryable = retryable or is_successful
    elif is_successful:
        return _malformed(endpoint, response, "", "it is not a JSON object")
    return _create_error(endpoint, response, (kind, retryable, hint), None, excerpt)


def _create_error(
    endpoint: str, response: Response, row: _ErrorRow, code: Code, message: str
) -> APIError:
    kind, retryable, hint = row
    parts = [f"HTTP {response.status}"] if response.status != _SUCCESS else []
    parts += [str(code)] if code is not None else []
    parts += [message] if message else []
    sentence = ": ".join(["HTX returned an error", *parts])
    return kind(
        f"{sentence.rstrip('.')}. {hint}".strip(),
        endpoint=endpoint,
        retryable=retryable,
        code=code,
        message=message or None,
        http_status=response.status,
    )


def _malformed(endpoint: str, response: Response, path: str, fault: str) -> DecodeError:
    """Return the error for a response whose envelope is malformed."""
    text = f"{fault}. It begins: {_excerpt(response) or '(it is empty)'}"
    return _decode_error(endpoint, response, path, text)


def _decode_error(endpoint: str, response: Response, path: str, fault: str) -> DecodeError:
    text = f"the response cannot be decoded: {fault}"
    return DecodeError(text, path=path, endpoint=endpoint, http_status=response.status)


def _by_status(status: int) -> _ErrorRow:
    for statuses, kind, retryable, hint in HTTP_STATUS_ERRORS:
        if status in statuses:
            return kind, retryable, hint
    return APIError, False, ""


def _excerpt(response: Response) -> str:
    return _sanitize(response.body[:_EXCERPT_BYTES].decode(errors="replace"), response)


def _sanitize(text: str, response: Response, limit: int = EXCERPT_LENGTH) -> str:
    return one_line(redact(text, auth_values(response.sent_query)), limit)
