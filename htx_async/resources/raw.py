"""`HTXClient.get`: any path of HTX that responds to GET with `data`, as plain exact values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sized
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

import attrs

from htx_async import validation
from htx_async.errors import DecodeError, InvalidInputError, with_attempts
from htx_async.models import decoding
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.redaction import auth_values, redact
from htx_async.request import Endpoint, Response
from htx_async.validation import MAX_DIGITS

DEFAULT_LIMIT: Final = RateLimit(10, per=1.0)
"""HTX, "Rate Limiting Rule": 10 requests a second where an endpoint's page states no limit."""

ParamValue: TypeAlias = "str | int | Decimal"
"""Value of a query parameter. A float is not accepted: it may not be the intended number."""

AUTH_PARAMS = frozenset(
    {"accesskeyid", "signaturemethod", "signatureversion", "timestamp", "signature"}
)
"""HTX, "Authentication": parameters that the signature adds, in lower case."""

MAX_ENDPOINTS = 1_000
"""Number of paths of `get` that a client remembers: those that were used last."""
_MAX_PATH = 500
# Characters that a URL contains unescaped: what is signed is then what is sent.
_PATH = r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+"
_NAME = r"[A-Za-z0-9._-]{1,100}"
_COOKIE = "set-cookie"


def _describe_data(data: Any) -> str:
    """Return type and length of *data*: its content may be long, or private."""
    kind = type(data).__name__
    return f"<{kind} of {len(data)}>" if isinstance(data, Sized) else f"<{kind}>"


@attrs.frozen
class RawResponse:
    """
    Result of `HTXClient.get`. Each call has its own: its `data` may be changed.

    Attributes:
        data: The `data` of the response: `dict`, `list`, `str`, `int`, `bool` or `None`. A number
            with a decimal point or an exponent is an exact `Decimal`; nothing is a float.
        status: HTTP status.
        headers: Response headers, names in lower case, without cookies, secrets redacted.
        attempts: Number of requests that were sent.
        queued: Seconds that the call waited for a rate-limit token and a connection.
        elapsed: Seconds from the call to the response, queueing included.
        envelope: Fields beside `data`, such as `next-id` for the next page.
    """

    data: Any = attrs.field(repr=_describe_data)
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    attempts: int
    queued: float
    elapsed: float
    envelope: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)


class EndpointRegistry:
    """Endpoints of a client: those of its resources, and those that `get` was called with."""

    def __init__(self, declared: Iterable[Endpoint[Any]]) -> None:
        self._declared = {endpoint.name: endpoint for endpoint in declared}
        self._added: dict[str, Endpoint[bytes]] = {}

    @property
    def all(self) -> tuple[Endpoint[Any], ...]:
        """Every endpoint that has a rate limit here."""
        return tuple((self._declared | self._added).values())

    def endpoint(self, path: str, limit: object, *, signed: bool) -> Endpoint[bytes]:
        """Return the endpoint whose rate limit *path* counts against."""
        template = self._template_of(path)
        name = Endpoint(template, DEFAULT_LIMIT, bytes).name
        checked = None if limit is None else _check_limit(limit)
        known = self._declared.get(name) or self._added.get(name)
        if known is None:
            known = Endpoint(template, checked or DEFAULT_LIMIT, bytes)
        elif name in self._added and checked not in (None, known.limit):
            first = f"{known.limit.requests} in {known.limit.per:g} s"
            msg = (
                f"the limit of {name} was set to {first} by an earlier call: pass the same or none"
            )
            raise InvalidInputError(msg)
        if name not in self._declared:
            self._remember(name, known)
        return Endpoint(template, known.limit, bytes, signed=signed)

    def _remember(self, name: str, endpoint: Endpoint[bytes]) -> None:
        self._added.pop(name, None)
        self._added[name] = endpoint  # the one that was used last is the last one
        if len(self._added) > MAX_ENDPOINTS:
            del self._added[next(iter(self._added))]

    def _template_of(self, path: str) -> str:
        """Return *path* with placeholders: HTX counts all ids of an endpoint together."""
        parts = path.split("/")
        for endpoint in self._declared.values():
            if _matches(endpoint.path.split("/"), parts):
                return endpoint.path
        return "/".join("{id}" if part.isdecimal() else part for part in parts)


def check_path(path: object) -> str:
    """Return *path* if it can be signed and sent as it is."""
    if not isinstance(path, str):
        msg = f"path must be text such as /v2/user/uid, got {type(path).__name__}"
        raise InvalidInputError(msg)
    if problem := _path_problem(path):
        # Without the path: it may be a signed URL that somebody pasted.
        msg = f"path {problem}, for example /v2/user/uid"
        raise InvalidInputError(msg)
    return str(path)


def check_params(params: object) -> tuple[tuple[str, str], ...]:
    """Return *params* as text, sorted by name; `None` is empty."""
    if params is None:
        return ()
    if not isinstance(params, Mapping):
        msg = f"params must be a mapping of names to values, got {type(params).__name__}"
        raise InvalidInputError(msg)
    items = cast("Mapping[object, object]", params).items()
    return tuple(sorted(_check_param(name, value) for name, value in items))


def to_raw_response(
    endpoint: Endpoint[bytes], response: Response, called_at: float, now: float
) -> RawResponse:
    """Return the result of a call that was made at *called_at* (monotonic seconds)."""
    envelope = _decode_envelope(endpoint, response)
    return RawResponse(
        data=envelope.pop("data"),
        status=response.status,
        headers=_redact_headers(response),
        attempts=response.stats.attempts,
        queued=response.stats.queue_time(called_at),
        elapsed=now - called_at,
        envelope=envelope,
    )


def _decode_envelope(endpoint: Endpoint[bytes], response: Response) -> dict[str, Any]:
    try:
        envelope: dict[str, Any] = decoding.decode_json(response.body, "the response")
    except DecodeError as error:
        error.endpoint, error.http_status, error.path = endpoint.name, response.status, "data"
        failure = with_attempts(error, response.stats.failures)
    else:
        return envelope
    # Raised outside of `except`: the error must not be its own context.
    raise failure


def _matches(template: list[str], parts: list[str]) -> bool:
    return len(template) == len(parts) and all(
        name.startswith("{") or name == part for name, part in zip(template, parts, strict=True)
    )


def _check_limit(limit: object) -> RateLimit:
    if not isinstance(limit, RateLimit):
        kind = type(limit).__name__
        msg = f"limit must be a RateLimit such as RateLimit(20, per=2.0), got {kind}"
        raise InvalidInputError(msg)
    validation.int_at_least(limit.requests, 1, "RateLimit.requests")
    validation.positive_seconds(limit.per, "RateLimit.per")
    return limit


def _path_problem(path: str) -> str:
    problems = (
        (not path.startswith("/"), "must start with / and must not name a host"),
        (path.startswith("//"), "must not name a host"),
        ("?" in path, "must not contain ?: pass the query as params"),
        ("#" in path, "must not contain #"),
        (len(path) > _MAX_PATH, f"must have at most {_MAX_PATH} characters"),
        (
            not re.fullmatch(_PATH, path),
            "must be names of letters, digits and -._~, none empty or beginning with a dot",
        ),
    )
    return next((problem for is_wrong, problem in problems if is_wrong), "")


def _check_param(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        msg = "the name of a parameter must be letters, digits and -._, at most 100"
        raise InvalidInputError(msg)
    if name.lower() in AUTH_PARAMS:
        msg = f"params must not contain {name}: the signature adds it"
        raise InvalidInputError(msg)
    text = _param_text(value)
    if text is None:
        fix = '. Write "true" or "false"' if isinstance(value, bool) else ""
        msg = (
            f"the parameter {name} must be text, a whole number of at most {MAX_DIGITS} digits, "
            f"or a Decimal: got {_describe_value(value)}{fix}"
        )
        raise InvalidInputError(msg)
    return str(name), text


def _param_text(value: object) -> str | None:
    """Return *value* as HTX reads it; `None` if it cannot be sent."""
    if isinstance(value, str):
        return _plain_text(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int.__repr__(value) if abs(value) < 10**MAX_DIGITS else None
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < MAX_DIGITS:
        return f"{value:f}"
    return None


def _plain_text(text: str) -> str | None:
    try:
        return text.encode().decode()  # a plain `str`, also of a member of an enumeration
    except UnicodeEncodeError:  # a lone surrogate
        return None


def _describe_value(value: object) -> str:
    if isinstance(value, str):
        return "text with a lone surrogate"
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return "one with more digits"
    return type(value).__name__


def _redact_headers(response: Response) -> dict[str, str]:
    """Return the headers without values of the request that they may repeat."""
    names = [name for name in response.headers if name != _COOKIE]
    values = [response.headers[name].replace("\n", " ") for name in names]
    # All at once: 64 KB may be 10,000 headers, and would take half a second one by one.
    redacted = redact("\n".join(values), auth_values(response.sent_query)).split("\n")
    return dict(zip(names, redacted, strict=False))
