"""
Spans and metrics of what reads do, for OpenTelemetry (extra `otel`).

Names are those of OpenTelemetry's semantic conventions for HTTP clients where they have one, else
they begin with `htx.`. Nothing here knows a query, a key or a signature: events tell none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import Token
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from htx_async.clock import Clock
from htx_async.errors import InvalidInputError
from htx_async.events import Event
from htx_async.ratelimit.queue import RateLimitStatus

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Span, SpanContext, TracerProvider

_SCOPE = "htx_async"
_NANOSECONDS = 1_000_000_000
_OVER = ("response", "api_error", "failed")
_CANCELLED = "CancelledError"


@attrs.define
class _Call:
    """A call that is under way, with what has to be undone when it is over."""

    span: Span
    token: Token[Context]
    about: dict[str, str | int]
    began: float


@attrs.define
class _Flight:
    """A read, and how many calls wait for it."""

    context: SpanContext
    calls: int = 1


@attrs.define
class _Level:
    """How things stood at an endpoint when something last happened there."""

    limits: RateLimitStatus
    at: float
    out: int = 0


class Telemetry:
    """
    Makes a span of each call, and metrics: `HTXClient(..., on_event=Telemetry())`.

    The span of a call is a child of what is current where the call is made, and current itself for
    whatever is done for it. It tells attempts and seconds waited; a call that shares a read has a
    link to the one that began it. Metrics: `htx.call.duration`, `htx.call.wait`,
    `htx.attempt.errors`, `htx.budget.free`, `htx.clock.offset` and `htx.unknown`.

    One serves any number of clients of one user: the free tokens are told by endpoint.

    Args:
        tracer_provider: Where spans go; `None`: to the global provider.
        meter_provider: Where metrics go; `None`: to the global provider.
        clock: Time; `None`: the system's. It must be that of the clients.

    Raises:
        InvalidInputError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        try:
            from opentelemetry import context, metrics, trace  # noqa: PLC0415 - an extra
        except ImportError:
            msg = 'Telemetry needs OpenTelemetry: pip install "htx-async[otel]"'
            raise InvalidInputError(msg) from None
        self._trace, self._context, self._metrics = trace, context, metrics
        self._clock = clock or Clock()
        self._calls: dict[int, _Call] = {}
        self._flights: dict[int, _Flight] = {}
        self._levels: dict[str, _Level] = {}
        self._offset: float | None = None
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "htx.call.duration", "s", "Seconds from call to answer"
        )
        self._wait = meter.create_histogram(
            "htx.call.wait", "s", "Seconds that calls wait for tokens"
        )
        self._errors = meter.create_counter(
            "htx.attempt.errors", "{attempt}", "Attempts that failed"
        )
        self._unknown = meter.create_counter(
            "htx.unknown", "{name}", "What HTX says and nobody knows"
        )
        meter.create_observable_gauge(
            "htx.budget.free", [self._free], "{token}", "Tokens that could be taken now"
        )
        meter.create_observable_gauge(
            "htx.clock.offset", [self._ahead], "s", "Seconds that HTX's clock is ahead"
        )

    def __call__(self, event: Event) -> None:
        """Note what has happened."""
        if event.kind == "started":
            self._begin(event)
        elif event.kind == "finished":
            self._end(event)
        elif event.kind == "schema_drift":
            self._unknown.add(1, {"htx.unknown": event.unknown or "", **_named(event.endpoint)})
        else:
            self._step(event)

    def _begin(self, event: Event) -> None:
        about = _named(event.endpoint)
        url = urlsplit(event.base_url or "")
        where: dict[str, str | int] = {"server.address": url.hostname or ""}
        where["server.port"] = url.port or {"http": 80}.get(url.scheme, 443)
        span = self._tracer.start_span(
            event.endpoint,
            kind=self._trace.SpanKind.CLIENT,
            attributes={**about, **where},
            start_time=_nanoseconds(event.at),
        )
        token = self._context.attach(self._trace.set_span_in_context(span))
        number = event.call_id or 0
        self._calls[number] = _Call(span, token, {**about, **where}, event.at)
        self._flights[number] = _Flight(span.get_span_context())

    def _end(self, event: Event) -> None:
        call = self._calls.pop(event.call_id or 0)
        self._leave(event.request_id)
        ended = {key: value for key, value in _outcome(event).items() if value is not None}
        waited, attempts = event.wait or 0.0, event.attempts or 0
        call.span.set_attributes({**ended, "htx.wait": waited, "htx.attempts": attempts})
        if attempts > 1:
            call.span.set_attribute("http.request.resend_count", attempts - 1)
        if event.error not in (None, _CANCELLED):
            call.span.set_status(self._trace.StatusCode.ERROR)
        call.span.end(_nanoseconds(event.at))
        self._context.detach(call.token)
        self._duration.record(max(event.at - call.began, 0.0), {**call.about, **ended})
        self._wait.record(waited, call.about)

    def _leave(self, number: int) -> None:
        flight = self._flights[number]
        flight.calls -= 1
        if not flight.calls:
            del self._flights[number]

    def _step(self, event: Event) -> None:
        if event.kind == "coalesced":
            self._join(event)
        span = self._trace.get_current_span()
        # It has ended where who began a read has left, and others still wait for it.
        if span.is_recording():
            told = {"htx.wait": event.wait, **_outcome(event)}
            facts = {key: value for key, value in told.items() if value is not None}
            span.add_event(event.kind, facts, _nanoseconds(event.at))
        if event.limits is not None:
            self._note_level(event, event.limits)
        if event.clock_offset is not None:
            self._offset = event.clock_offset
        if event.kind in ("api_error", "failed"):
            self._errors.add(1, {**_named(event.endpoint), "error.type": event.error or ""})

    def _join(self, event: Event) -> None:
        number = event.call_id or 0
        self._leave(number)  # it did not begin a read of its own
        flight = self._flights[event.request_id]
        flight.calls += 1
        self._calls[number].span.add_link(flight.context)

    def _note_level(self, event: Event, limits: RateLimitStatus) -> None:
        level = self._levels.get(event.endpoint)
        out = level.out if level else 0
        out += (event.kind == "acquired") - (event.kind in _OVER)
        self._levels[event.endpoint] = _Level(limits, self._clock.now(), max(out, 0))

    def _free(self, _: CallbackOptions) -> Iterable[Observation]:
        """Tell the free tokens; called by an exporter, from a thread of its own."""
        now = self._clock.now()
        for endpoint, level in self._levels.copy().items():
            limit = level.limits.limit
            rested = not level.out and now - level.at > limit.per
            free = limit.requests if rested else level.limits.available
            yield self._metrics.Observation(free, _named(endpoint))

    def _ahead(self, _: CallbackOptions) -> Iterator[Observation]:
        if self._offset is not None:
            yield self._metrics.Observation(self._offset)


def _named(endpoint: str) -> dict[str, str | int]:
    method, _, template = endpoint.partition(" ")
    return {"http.request.method": method, "url.template": template}


def _outcome(event: Event) -> dict[str, Any]:
    return {"error.type": event.error, "http.response.status_code": event.http_status}


def _nanoseconds(at: float) -> int:
    return int(at * _NANOSECONDS)
