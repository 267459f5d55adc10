"""
Reports schema drift: fields and enum values of responses that this version does not know.

Decoding ignores them. Each is reported once: as an event by each client, in the log by the process.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final, TypeAlias, cast

import msgspec

from htx_async.clock import Clock
from htx_async.events import EventEmitter
from htx_async.models.enums import OpenStrEnum
from htx_async.models.schema import FieldType, field_type, wire_fields_of
from htx_async.models.wire_types import NumberText
from htx_async.redaction import auth_values, redact
from htx_async.request import Request, Response

SAMPLE_INTERVAL = 1.0
"""Seconds between two inspected responses of an endpoint: inspecting takes longer than decoding."""
MAX_ROWS = 5_000
"""Most items of a list that are inspected: more than any response of HTX has."""
MAX_REPORTS = 30
"""Most reports of a client, and of the process: a server may send new names without end."""
ENVELOPE_FIELDS: Final = frozenset(
    {"status", "data", "ts", "ch", "next-id", "nextId", "print-log", "full-log"}
    | {"err-code", "err-msg", "err_code", "err_msg", "code", "message", "success", "ok"}
)
"""Fields beside `data` that HTX's pages, or recorded responses, contain."""

Unknown: TypeAlias = tuple[str, str]
"""Path of an object with a dot and the name of an unknown field, or path of a field with an equals
sign and its unknown value."""

_SCALARS = {"decimal", "timestamp", "id", "flag"}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_REDACTED_NAME = "(a name that is not shown)"

_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Accepts any text, and any number: `int` rejects long ones.
_values = json.JSONDecoder(parse_int=NumberText, parse_float=NumberText)
_log = logging.getLogger("htx_async")
_logged: set[tuple[str, str]] = set()
_lock = threading.Lock()


class SchemaDriftReporter:
    """Inspects the first response of each endpoint, and at most one each second after that."""

    def __init__(self, clock: Clock, events: EventEmitter) -> None:
        self._clock = clock
        self._events = events
        self._reported: set[tuple[str, str]] = set()
        self._last_sampled: dict[str, float] = {}

    def inspect(self, request: Request, response: Response) -> None:
        """Report what the model of a response does not know, if it is time for a sample."""
        if self._due(request.endpoint.name) and len(self._reported) < MAX_REPORTS:
            secrets = auth_values(response.sent_query)
            unknown = find_unknown(response.body, request.endpoint.content_type)
            for path, name in islice(unknown, MAX_REPORTS):
                self._report(request, path + _redacted(name, secrets))

    def _due(self, endpoint: str) -> bool:
        now = self._clock.monotonic()
        if now < self._last_sampled.get(endpoint, now - SAMPLE_INTERVAL) + SAMPLE_INTERVAL:
            return False
        self._last_sampled[endpoint] = now
        return True

    def _report(self, request: Request, unknown: str) -> None:
        endpoint = request.endpoint.name
        key = (endpoint, unknown)
        if key in self._reported or len(self._reported) >= MAX_REPORTS:
            return
        self._reported.add(key)
        if _is_new(key):
            text = "HTX sent %s at %s, which this version of htx_async does not know"
            _log.warning(text, unknown, endpoint)
        self._events.emit("schema_drift", endpoint, request.id, unknown=unknown)


def find_unknown(body: bytes, data_type: Any) -> Iterator[Unknown]:
    """Yield the unknown fields and enum values of a response; nothing if it is not JSON."""
    try:
        # `data` of an endpoint without a model is not parsed: it may be large.
        envelope = _objects.decode(body) if data_type is bytes else _values.decode(body.decode())
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    if isinstance(envelope, dict):
        fields = cast("dict[str, Any]", envelope)
        yield from (("", name) for name in fields if name not in ENVELOPE_FIELDS)
        if data_type is not bytes and "data" in fields:
            yield from _unknown_in([fields["data"]], field_type(data_type), "data")


def _unknown_in(values: list[Any], field: FieldType, path: str) -> Iterator[Unknown]:
    """Yield what is unknown in any of *values*, which are at the same path."""
    if field.item is not None:
        if field.kind == "list":
            lists: list[list[Any]] = [value for value in values if isinstance(value, list)]
            values, path = [*islice(chain.from_iterable(lists), MAX_ROWS)], f"{path}[]"
        yield from _unknown_in(values, field.item, path)
    elif field.kind == "model":
        objects = [cast("dict[str, Any]", value) for value in values if isinstance(value, dict)]
        sent = wire_fields_of(field.annotation).items()
        known = {name: inner.type for name, inner in sent}
        for name in dict.fromkeys(chain.from_iterable(objects)):
            if name not in known:
                yield f"{path}.", name
            elif known[name].kind not in _SCALARS:
                inner_values = [value[name] for value in objects if name in value]
                yield from _unknown_in(inner_values, known[name], f"{path}.{name}")
    elif issubclass(field.annotation, OpenStrEnum):
        for text in dict.fromkeys(value for value in values if isinstance(value, str)):
            if not field.annotation(text).is_known:
                yield f"{path}=", text


def _redacted(name: str, secrets: tuple[str, ...]) -> str:
    """Return a name if it is short and plain; it may repeat anything, for example the query."""
    is_plain = _PLAIN_NAME.fullmatch(name) and redact(name, secrets) == name
    return name if is_plain else _REDACTED_NAME


def _is_new(key: tuple[str, str]) -> bool:
    """Return whether this process has not logged it yet."""
    with _lock:
        if key in _logged or len(_logged) >= MAX_REPORTS:
            return False
        _logged.add(key)
        return True
