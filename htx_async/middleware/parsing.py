"""
Parses the response envelope into the model of `data`, or a typed error.

HTX has two envelopes, and the path does not determine which one a response has: v1 has `status`,
`err-code` and `err-msg`, v2 has `code`, `message` and sometimes `success` or `ok`. API errors may
have HTTP status 200.
"""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec.structs import replace

from htx_async.clock import PLAUSIBLE_EPOCH_MS, Clock
from htx_async.error_codes import Code, cause_of
from htx_async.errors import (
    APIError,
    DecodeError,
    HTXError,
    IPAddressError,
)
from htx_async.middleware.schema_drift import SchemaDriftReporter
from htx_async.middleware.trace_headers import trace_headers
from htx_async.models import decoding
from htx_async.models.schema import at
from htx_async.models.wire_types import BrokenText, InvalidValueError, parse_id
from htx_async.redaction import EXCERPT_LENGTH, auth_values, excerpt, text_of_page
from htx_async.request import Endpoint, Handler, Page, Request, Response

D = TypeVar("D")

LARGE_BODY = 64 * 1024
"""Bytes from which a response is decoded by a caller: see `SharedCall.decode_in_caller`."""
_SUCCESS = 200
"""HTTP's status and HTX's code."""
_SUCCESSFUL = range(200, 300)
"""RFC 9110: such a status is not an error."""
_HEAD_LENGTH = 8192
"""Bytes of a body, or characters of its error text, that are searched for secrets and words."""
_PAGE_SIZE = 64 * 1024
"""Bytes of a page that are searched for text."""
_PAGE_EXCERPT = 500
_MAX_BROKEN = 256 * 1024
"""Bytes of a body that is not UTF-8 in which an error is searched: more would take over 5 ms."""
_MAX_DATE = 40
"""Characters of a `Date` header."""
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_TOO_LARGE = 10**9
_STARTS_AS_ERROR = re.compile(
    rb"""\s{0,9}\{\s{0,9}(?:"status"\s{0,9}:\s{0,9}"error"|"code"\s{0,9}:\s{0,9}(?!"?200\b)[-"0-9])"""
)
_CUT_ESCAPE = re.compile(r"\\[^\\]{0,5}\Z")
_HTML = re.compile(rb"(?i)<(?:!doctype|html|head|title|body)\b")
_CODE_LENGTH = 80
_LOCAL_TIME = Clock().now
_CLIENT_IP = re.compile(r"(?i)ip address[^:]*:\s*([0-9a-f.:]{3,45})")
_SECONDS = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")


class _Envelope(msgspec.Struct, Generic[D]):
    """
    Both envelopes at once. Futures hosts write `err_code`, some v2 responses have `ok`.

    The fields from `msg` to `title` are those in which gateways explain an error: AWS and Kong
    write `message`, Spring `error`, RFC 9457 `detail` and `title`.
    """

    status: Any = None
    code: Any = msgspec.UNSET
    success: Any = None
    ok: Any = None
    message: Any = None
    err_code: Any = msgspec.field(default=None, name="err-code")
    err_msg: Any = msgspec.field(default=None, name="err-msg")
    futures_code: Any = msgspec.field(default=None, name="err_code")
    futures_msg: Any = msgspec.field(default=None, name="err_msg")
    msg: Any = None
    error: Any = None
    detail: Any = None
    title: Any = None
    ts: Any = None
    next_id: Any = msgspec.field(default=None, name="next-id")
    v2_next_id: Any = msgspec.field(default=None, name="nextId")
    data: D | msgspec.UnsetType = msgspec.UNSET


class _ErrorList(msgspec.Struct):
    errors: Any = None


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
        if response.error is not None:
            response.error.headers = trace_headers(response)
        if self.on_server_time is not None and response.server_time is not None:
            self.on_server_time(response.server_time, response.first_byte_at)
        return response

    def _parse(self, request: Request, response: Response) -> Response:
        parsed = parse_response(request.endpoint, response, self.server_now)
        if request.account_id is not None:
            parsed = _check_account(request, request.account_id, parsed)
        is_list = isinstance(parsed.value, tuple)
        values: Any = parsed.value if is_list else (parsed.value,)
        if self.clock is not None and values and hasattr(values[0], "received_at"):
            now = self.clock.now() - (self.clock.monotonic() - parsed.first_byte_at)
            for value in values:
                # Frozen, but nobody else has it yet: a copy would take longer.
                object.__setattr__(value, "received_at", datetime.fromtimestamp(now, UTC))
        if self.drift is not None and _is_decoded(parsed.error):
            self.drift.inspect(request, parsed)
        return parsed


def _is_decoded(error: HTXError | None) -> bool:
    """Return whether the response has `data`; it may be malformed."""
    return error is None or (isinstance(error, DecodeError) and error.path.startswith("data"))


def parse_response(
    endpoint: Endpoint[Any], response: Response, server_now: Callable[[], float] = _LOCAL_TIME
) -> Response:
    """Return *response* with its `value`, or with its `error`."""
    parsed = _parse_body(endpoint, response)
    if isinstance(parsed.error, APIError):
        parsed.error.retry_after = _retry_after(response.headers, server_now)
    return parsed


def _parse_body(endpoint: Endpoint[Any], response: Response) -> Response:
    data_type: Any = endpoint.content_type
    head = response.body[:_HEAD_LENGTH].removeprefix(codecs.BOM_UTF8).lstrip()
    if not head.startswith(b"{"):  # not decoded at all: it may be long
        is_page = head[:1] == b"<" or _HTML.search(head) is not None
        return replace(response, error=_not_json(endpoint, response, is_page=is_page))
    exact: _Envelope[Any] | None = None
    envelope = _decode_head(response.body)
    is_utf8 = envelope is not None or decoding.is_utf8(response.body)  # msgspec skips some
    if envelope is None:
        if is_utf8:
            exact = decoding.decode_as(response.body, _envelope_type(data_type))
            envelope = exact or _decode_error_envelope(response.body)
        envelope = envelope or _decode_raw(response.body, is_utf8=is_utf8)
    if envelope is None:
        return replace(response, error=_not_json(endpoint, response))
    # Only now: the date of a page that is not HTX's is not that of HTX's clock.
    time, error = _server_time(response, envelope), _error_in(envelope, endpoint, response)
    if error is not None:
        return replace(response, server_time=time, error=error)
    # Errors below are without an excerpt: `data` is private, and may repeat the request.
    if exact is None and (data_type is bytes or not is_utf8):
        fault = "it is not UTF-8 text, or a value cannot be represented"
        error = _decode_error(endpoint, response, "", fault)
        return replace(response, server_time=time, error=error)
    try:
        value = at("data", _structure, envelope.data, data_type, exact is not None)
        if endpoint.is_paged:
            value = Page(value, _next_id(envelope))
    except InvalidValueError as invalid:
        path = invalid.path
        error = _decode_error(endpoint, response, path, f"{path} {invalid.fault}")
        return replace(response, server_time=time, error=error)
    return replace(response, server_time=time, value=value)


def _structure(data: Any, data_type: Any, is_wire: bool) -> Any:  # noqa: FBT001 - see `at`
    wire = data if is_wire else decoding.convert(data, data_type)
    return decoding.structure(wire, data_type)


def _next_id(envelope: _Envelope[Any]) -> int | None:
    """Return the id of the next page; `None` if there is none. No page may be missed silently."""
    for name, value in (("next-id", envelope.next_id), ("nextId", envelope.v2_next_id)):
        if value is not None:
            return at(name, parse_id, value) or None
    return None


def _check_account(request: Request, account_id: int, response: Response) -> Response:
    """Attach an error if the data is that of another account: a response to another request."""
    if response.error is not None:
        return response
    value, path = response.value, "data.id"
    if request.endpoint.is_paged:
        path, ids = "data[].account-id", {record.account_id for record in value.records}
    else:
        ids = {value.id}
    if ids <= {account_id}:
        return response
    response.close_connection()
    fault = f"{path} is that of another account"
    error = _decode_error(request.endpoint, response, path, fault)
    return replace(response, value=None, error=error)


@functools.cache
def _envelope_type(data_type: Any) -> Any:
    return _Envelope[decoding.wire_type(data_type)]  # type: ignore[misc]  # derived at run time


def _decode_head(body: bytes) -> _Envelope[Any] | None:
    """
    Return the envelope of an error that is large because of a long text, without that text.

    Decoding all of 16 MB takes 10 to 100 ms. `None`: it is small, not an error, or large otherwise.
    """
    if len(body) <= LARGE_BODY or not _STARTS_AS_ERROR.match(body):
        return None
    head = _CUT_ESCAPE.sub("", body[:_HEAD_LENGTH].decode(errors="replace"))
    try:
        return msgspec.convert(decoding.load_json(f'{head}"}}'), _Envelope[Any])
    except InvalidValueError:
        return None


def _decode_error_envelope(body: bytes) -> _Envelope[Any] | None:
    """Return the envelope of an API error, whatever its `data` is; `None` if it is not one."""
    envelope: _Envelope[Any] | None = decoding.decode_as(body, _Envelope[msgspec.Raw])
    is_error = envelope is not None and isinstance(_parse_status(envelope), _ErrorPayload)
    return envelope if is_error else None


def _decode_raw(body: bytes, *, is_utf8: bool) -> _Envelope[Any] | None:
    """
    Return the envelope of a body that does not have the expected types; `None`: not an envelope.

    Only an error is accepted from it, also if its text is cut or not UTF-8: its code decides.
    """
    if not is_utf8 and len(body) > _MAX_BROKEN:
        return None
    try:
        fields = decoding.load_json(body.decode(errors="replace"))
    except InvalidValueError:
        return None
    return msgspec.convert(fields, _Envelope[Any]) if isinstance(fields, dict) else None


def _error_in(
    envelope: _Envelope[Any], endpoint: Endpoint[Any], response: Response
) -> HTXError | None:
    """Return the error that a response is; `None` if it has `data`."""
    parsed = _parse_status(envelope)
    if isinstance(parsed, _ErrorPayload):
        return _api_error(endpoint, response, parsed)
    if response.status not in _SUCCESSFUL:
        return _api_error(endpoint, response, _ErrorPayload(None, _words(envelope)))
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
    """
    Return the time in a header, in seconds since 1970; `None` if it is not an HTTP date.

    Nor one in 1970, which a proxy without a clock writes: requests would be signed with it.
    """
    from email.utils import parsedate_tz  # noqa: PLC0415 - imports ten modules

    parsed = parsedate_tz(header) if len(header) <= _MAX_DATE else None
    try:
        time = datetime(*parsed[:6], tzinfo=UTC).timestamp() - (parsed[9] or 0) if parsed else 0
    except (ValueError, OverflowError):
        return None
    return time if int(time * 1000) in PLAUSIBLE_EPOCH_MS else None


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
        return _ErrorPayload(code, _words(envelope))
    code = _code(envelope.code)
    if code is None:
        return "status" if envelope.code is msgspec.UNSET else "code"
    if code != _SUCCESS or _means_false(envelope.success) or _means_false(envelope.ok):
        return _ErrorPayload(code, _words(envelope))
    return ""


def _code(code: object) -> Code:
    """Return a code as text, or as a number, also where HTX wrote the number as text."""
    if isinstance(code, str):
        return int(code) if _NUMBER.fullmatch(code) else code
    if isinstance(code, int) and not isinstance(code, bool) and abs(code) < _TOO_LARGE:
        return code
    return None


def _words(envelope: _Envelope[Any]) -> str:
    """Return the start of the first text that explains an error; it may be empty."""
    return _first_text(
        envelope.err_msg,
        envelope.futures_msg,
        envelope.message,
        envelope.msg,
        envelope.detail,
        envelope.error,
        envelope.title,
    )


def _words_in_list(body: bytes) -> str:
    """Return the first `errors[].message`, which JSON:API and GraphQL write; it may be empty."""
    if b'"errors"' not in body[:_HEAD_LENGTH] or len(body) > LARGE_BODY:
        return ""
    decoded = decoding.decode_as(body, _ErrorList)
    errors: object = decoded and decoded.errors
    items = cast("list[object]", errors) if isinstance(errors, list) else []
    objects = (cast("dict[str, Any]", item) for item in items if isinstance(item, dict))
    return _first_text(*(item.get("message") for item in objects))


def _first_text(*values: object) -> str:
    """Return the start of the first of *values* that is text and not empty."""
    texts = (value.text if isinstance(value, BrokenText) else value for value in values)
    return next((text[:_HEAD_LENGTH] for text in texts if isinstance(text, str) and text), "")


def _means_false(flag: object) -> bool:
    return flag is False or (isinstance(flag, str) and flag.lower() == "false")


def _api_error(endpoint: Endpoint[Any], response: Response, payload: _ErrorPayload) -> APIError:
    """Return the error that a response of HTX, or of a gateway, reports."""
    code, text = payload.code, payload.text or _words_in_list(response.body)
    payload, message = _ErrorPayload(code, text), _sanitize(text, response)
    if isinstance(code, str):
        code = _sanitize(code, response, _CODE_LENGTH)
    return _create_error(endpoint, response, payload, code, message)


def _not_json(endpoint: Endpoint[Any], response: Response, *, is_page: bool = False) -> HTXError:
    """Return the error for a body that is not a JSON object: another server's page, or broken."""
    if is_page:
        page = response.body[:_PAGE_SIZE].decode(errors="replace")
        message = _sanitize(text_of_page(page), response, _PAGE_EXCERPT)
    elif response.status in _SUCCESSFUL:
        return _malformed(endpoint, response, "", "it is not a JSON object")
    else:
        message = _excerpt(response)
    payload = _ErrorPayload(None, message)
    return _create_error(endpoint, response, payload, None, message, is_page=is_page)


def _create_error(
    endpoint: Endpoint[Any],
    response: Response,
    payload: _ErrorPayload,
    code: Code,
    message: str,
    *,
    is_page: bool = False,
) -> APIError:
    """Return the error of the class that *payload* means, with a hint; *code* can be shown."""
    cause = cause_of(payload.code, payload.text, response.status, is_page=is_page)
    kind, hint = APIError, ""
    if cause is not None:
        kind, hint = cause.error, cause.hint_for(signed=endpoint.signed)
    if kind is IPAddressError and (address := _CLIENT_IP.search(message)):
        hint = f"{hint} HTX saw {address[1]}."
    parts = [f"HTTP {response.status}"] if response.status != _SUCCESS else []
    parts += [str(code)] if code is not None else []
    parts += [message] if message else []
    sentence = ": ".join(["HTX returned an error", *parts])
    return kind(
        f"{sentence.rstrip('.')}. {hint}".strip(),
        endpoint=endpoint.name,
        retryable=cause is not None and cause.retryable,
        code=code,
        message=message or None,
        http_status=response.status,
    )


def _malformed(endpoint: Endpoint[Any], response: Response, path: str, fault: str) -> DecodeError:
    """Return the error for a response whose envelope is malformed."""
    text = f"{fault}. It begins: {_excerpt(response) or '(it is empty)'}"
    return _decode_error(endpoint, response, path, text)


def _decode_error(
    endpoint: Endpoint[Any], response: Response, path: str, fault: str
) -> DecodeError:
    text = f"the response cannot be decoded: {fault}"
    return DecodeError(text, path=path, endpoint=endpoint.name, http_status=response.status)


def _excerpt(response: Response) -> str:
    return _sanitize(response.body[:_HEAD_LENGTH].decode(errors="replace"), response)


def _sanitize(text: str, response: Response, limit: int = EXCERPT_LENGTH) -> str:
    return excerpt(text, auth_values(response.sent_query), limit)
