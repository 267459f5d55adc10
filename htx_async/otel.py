"""
OpenTelemetry spans and metrics of calls, and metrics of streams (extra `otel`).

Names follow OpenTelemetry's semantic conventions for HTTP clients; others begin with `htx.`.
Events contain no query, key or signature, so neither do spans and metrics.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextvars import Token
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from htx_async import validation
from htx_async.clock import Clock
from htx_async.errors import InvalidInputError
from htx_async.events import Event
from htx_async.ratelimit.queue import RateLimitStatus

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Span, SpanContext, TracerProvider

    from htx_async.stream.live import LiveBalances
    from htx_async.stream.observer import ObservedKind

_SCOPE = "htx_async"
_NANOSECONDS = 1_000_000_000
_TERMINAL = ("response", "api_error", "failed")
_CANCELLED = "CancelledError"


@attrs.define
class _Call:
    """A call in progress."""

    span: Span
    token: Token[Context]
    attributes: dict[str, str | int]
    started_at: float


@attrs.define
class _ReadSpan:
    """The span of the call that started a request, and the number of calls that share it."""

    context: SpanContext
    calls: int = 1


@attrs.define
class _EndpointState:
    """Rate-limit status at the latest event of an endpoint, and the tokens in use then."""

    limits: RateLimitStatus
    at: float
    in_use: int = 0


class Telemetry:
    """
    Event listener that records spans and metrics: `HTXClient(..., on_event=Telemetry())`.

    Each call has a span, a child of the caller's current span. While the call runs, its span is
    the current one. The span of a coalesced call has a link to the call that started the request.
    Metrics: `htx.call.duration`, `htx.call.queued`, `htx.attempt.errors`,
    `htx.rate_limit.available`, `htx.clock.offset` and `htx.schema_drift`; of streams that
    `observe` was called with: `htx.stream.age`, `htx.stream.gaps`, `htx.stream.audits` and
    `htx.stream.reconnects`.

    One instance serves any number of clients of one user: tokens are reported by endpoint, and no
    metric has an attribute for the user.

    Args:
        tracer_provider: Receives the spans; `None`: the global provider.
        meter_provider: Receives the metrics; `None`: the global provider.
        clock: Must be the clock of the clients; `None`: the system's.

    Raises:
        InvalidInputError: OpenTelemetry is not installed, or an argument is wrong.
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
        providers = (
            (tracer_provider, trace.TracerProvider, "tracer_provider", "a TracerProvider"),
            (meter_provider, metrics.MeterProvider, "meter_provider", "a MeterProvider"),
            (clock, Clock, "clock", "a Clock"),
        )
        for value, kind, name, expected in providers:
            if value is not None:
                validation.instance_of(value, kind, name, expected)
        self._clock = clock or Clock()
        self._calls: dict[int, _Call] = {}
        self._reads: dict[int, _ReadSpan] = {}
        self._endpoints: dict[str, _EndpointState] = {}
        self._streams: list[weakref.ref[LiveBalances]] = []
        self._offset: float | None = None
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._duration = meter.create_histogram("htx.call.duration", "s", "Duration of calls")
        self._queued = meter.create_histogram("htx.call.queued", "s", "Queueing time of calls")
        self._errors = meter.create_counter("htx.attempt.errors", "{attempt}", "Failed attempts")
        self._drift = meter.create_counter("htx.schema_drift", "{name}", "Unknown names and values")
        self._gaps = meter.create_counter("htx.stream.gaps", "{gap}", "Gaps of streams")
        self._audits = meter.create_counter("htx.stream.audits", "{audit}", "Audits of streams")
        self._reconnects = meter.create_counter(
            "htx.stream.reconnects", "{connection}", "Connections opened after one was lost"
        )
        gauge = meter.create_observable_gauge
        gauge("htx.stream.age", [self._age], "s", "Seconds since the oldest stream was proven")
        gauge("htx.rate_limit.available", [self._available], "{token}", "Available tokens")
        gauge("htx.clock.offset", [self._clock_offset], "s", "Seconds that HTX's clock is ahead")

    def __call__(self, event: Event) -> None:
        """Record an event."""
        if event.kind == "started":
            self._start(event)
        elif event.kind == "finished":
            self._finish(event)
        elif event.kind == "schema_drift":
            attributes = _endpoint_attributes(event.endpoint)
            self._drift.add(1, {"htx.schema_drift": event.unknown or "", **attributes})
        else:
            self._on_progress(event)

    def observe(self, stream: LiveBalances) -> None:
        """
        Record the age of *stream*, its gaps, audits and reconnects, until it is closed.

        Call it once for each stream. It does not keep the stream alive.

        Args:
            stream: What `htx.accounts.stream()` returns.

        Raises:
            InvalidInputError: It is something else.
        """
        from htx_async.stream import live  # noqa: PLC0415 - an extra

        validation.instance_of(stream, live.LiveBalances, "stream", "LiveBalances")
        self._streams = [each for each in self._streams if each() is not None]
        self._streams.append(weakref.ref(stream))
        was_lost = False

        def record(kind: ObservedKind, data: Any) -> None:
            nonlocal was_lost
            if kind == "opened" and was_lost:
                self._reconnects.add(1)
            if kind in ("opened", "lost"):
                was_lost = kind == "lost"
            elif kind in ("audited", "audit_failed"):
                outcome = {} if kind == "audited" else {"error.type": type(data).__name__}
                self._audits.add(1, outcome)
            elif kind == "event" and data.kind == "gap":
                self._gaps.add(1, {"htx.gap.reason": data.reason})

        live.observe(stream, record)

    def _start(self, event: Event) -> None:
        url = urlsplit(event.base_url or "")
        attributes: dict[str, str | int] = {
            **_endpoint_attributes(event.endpoint),
            "server.address": url.hostname or "",
            "server.port": url.port or {"http": 80}.get(url.scheme, 443),
        }
        span = self._tracer.start_span(
            event.endpoint,
            kind=self._trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=_nanoseconds(event.at),
        )
        token = self._context.attach(self._trace.set_span_in_context(span))
        call_id = event.call_id or 0
        self._calls[call_id] = _Call(span, token, attributes, event.at)
        self._reads[call_id] = _ReadSpan(span.get_span_context())

    def _finish(self, event: Event) -> None:
        call = self._calls.pop(event.call_id or 0)
        self._release(event.request_id)
        outcome, queued, attempts = _outcome(event), event.wait or 0.0, event.attempts or 0
        call.span.set_attributes({**outcome, "htx.queued": queued, "htx.attempts": attempts})
        if attempts > 1:
            call.span.set_attribute("http.request.resend_count", attempts - 1)
        if event.error not in (None, _CANCELLED):
            call.span.set_status(self._trace.StatusCode.ERROR)
        call.span.end(_nanoseconds(event.at))
        self._context.detach(call.token)
        duration = max(event.at - call.started_at, 0.0)
        self._duration.record(duration, {**call.attributes, **outcome})
        self._queued.record(queued, call.attributes)

    def _release(self, request_id: int) -> None:
        read = self._reads[request_id]
        read.calls -= 1
        if not read.calls:
            del self._reads[request_id]

    def _on_progress(self, event: Event) -> None:
        if event.kind == "coalesced":
            self._coalesce(event)
        span = self._trace.get_current_span()
        # It has ended if the call that started the request was cancelled and others share it.
        if span.is_recording():
            queued = {} if event.wait is None else {"htx.queued": event.wait}
            span.add_event(event.kind, {**queued, **_outcome(event)}, _nanoseconds(event.at))
        if event.limits is not None:
            state = self._endpoints.get(event.endpoint)
            in_use = state.in_use if state else 0
            in_use += (event.kind == "acquired") - (event.kind in _TERMINAL)
            now = self._clock.now()
            self._endpoints[event.endpoint] = _EndpointState(event.limits, now, max(in_use, 0))
        if event.clock_offset is not None:
            self._offset = event.clock_offset
        if event.kind in ("api_error", "failed"):
            self._errors.add(
                1, {**_endpoint_attributes(event.endpoint), "error.type": event.error or ""}
            )

    def _coalesce(self, event: Event) -> None:
        call_id = event.call_id or 0
        self._release(call_id)  # it does not start a request of its own
        read = self._reads[event.request_id]
        read.calls += 1
        self._calls[call_id].span.add_link(read.context)

    def _available(self, _: CallbackOptions) -> Iterator[Observation]:
        """Yield the available tokens; an exporter calls this from its own thread."""
        now = self._clock.now()
        for endpoint, state in self._endpoints.copy().items():
            limit = state.limits.limit
            is_full = not state.in_use and now - state.at > limit.per
            available = limit.requests if is_full else state.limits.available
            yield self._metrics.Observation(available, _endpoint_attributes(endpoint))

    def _age(self, _: CallbackOptions) -> Iterator[Observation]:
        """Yield the age of the stream that was proven the longest time ago."""
        streams = [stream for each in tuple(self._streams) if (stream := each()) is not None]
        ages = [stream.age for stream in streams if stream.status != "closed"]
        known = [age for age in ages if math.isfinite(age)]
        if known:
            yield self._metrics.Observation(max(known))

    def _clock_offset(self, _: CallbackOptions) -> Iterator[Observation]:
        if self._offset is not None:
            yield self._metrics.Observation(self._offset)


def _endpoint_attributes(endpoint: str) -> dict[str, str | int]:
    method, _, template = endpoint.partition(" ")
    return {"http.request.method": method, "url.template": template}


def _outcome(event: Event) -> dict[str, Any]:
    outcome = {"error.type": event.error, "http.response.status_code": event.http_status}
    return {name: value for name, value in outcome.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)
