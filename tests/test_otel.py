"""OpenTelemetry spans and metrics, recorded with its SDK."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import sys
import weakref
from collections.abc import Mapping
from typing import Any

import attrs
import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from htx_async import (
    NO_RETRY,
    Credentials,
    DeadlineExceededError,
    Event,
    HTXClient,
    InvalidInputError,
    NoResponseError,
    RateLimit,
    RetryPolicy,
    SignatureError,
)
from htx_async.otel import Telemetry
from htx_async.sandbox import Sandbox
from htx_async.testing import ScriptedTransport
from tests.stream.exchange import make
from tests.virtual import DAY, VirtualClock

KEYS = Credentials("access-key", "secret-key")
EMPTY = httpx.Response(200, json={"status": "ok", "data": []})


@attrs.define
class Recorder:
    """Telemetry on virtual time, and what it records of a client."""

    clock: VirtualClock = attrs.field(factory=VirtualClock)
    spans: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    tracers: TracerProvider = attrs.field(factory=TracerProvider)
    transport: httpx.AsyncBaseTransport | None = None

    @property
    def meters(self) -> MeterProvider:
        """A new provider of the metrics."""
        return MeterProvider([self.reader], shutdown_on_exit=False)

    def client(self, keys: Credentials = KEYS, **options: Any) -> HTXClient:
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        telemetry = Telemetry(self.tracers, self.meters, clock=self.clock)
        transport = self.transport or httpx.ASGITransport(app=Sandbox(clock=self.clock))
        return HTXClient(keys, transport=transport, clock=self.clock, on_event=telemetry, **options)

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        return self.spans.get_finished_spans()

    def metrics(self) -> dict[str, list[Any]]:
        """Return the data points of each metric."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def slow_transport(failing: int = 0) -> ScriptedTransport:
    """Return a transport that responds after a second; to the first *failing* requests with 503."""
    steps = itertools.chain([httpx.Response(503)] * failing, itertools.repeat(EMPTY))
    return ScriptedTransport(steps, delay=1.0)


@pytest.mark.usefixtures("virtual_time")
async def test_span_of_call() -> None:
    """It has the attributes of the semantic conventions, and events of the request."""
    recorder = Recorder()
    async with recorder.client() as htx:
        await htx.accounts.balance(1000001)
    (span,) = recorder.finished
    assert span.name == "GET /v1/account/accounts/{account-id}/balance"
    assert span.kind is SpanKind.CLIENT
    assert dict(attributes(span)) == {
        "http.request.method": "GET",
        "url.template": "/v1/account/accounts/{account-id}/balance",
        "server.address": "api.huobi.pro",
        "server.port": 443,
        "http.response.status_code": 200,
        "htx.attempts": 1,
        "htx.queued": 0.0,
    }
    assert [event.name for event in span.events] == ["acquired", "sent", "response"]
    assert span.status.status_code is StatusCode.UNSET
    assert span.parent is None
    assert span.start_time == int(DAY * 10**9)


@pytest.mark.usefixtures("virtual_time")
async def test_span_of_call_is_child_of_current_span() -> None:
    """It is the current span of its requests, and of nothing else."""
    current_spans: list[str] = []

    def respond(_: httpx.Request) -> httpx.Response:
        current_spans.append(f"{get_current_span().get_span_context().span_id:x}")
        return EMPTY

    recorder = Recorder(transport=ScriptedTransport([respond, respond], delay=1.0))
    tracer = recorder.tracers.get_tracer("app")
    async with recorder.client() as htx:
        with tracer.start_as_current_span("handler") as span:
            await htx.accounts.list()
            assert get_current_span() is span
            await asyncio.gather(htx.accounts.list(), asyncio.sleep(0))
            assert get_current_span() is span
    first, second, handler = recorder.finished
    for call in (first, second):
        assert call.parent is not None
        assert call.parent.span_id == handler.context.span_id
    assert current_spans == [f"{call.context.span_id:x}" for call in (first, second)]


@pytest.mark.usefixtures("virtual_time")
async def test_span_of_coalesced_call_has_link() -> None:
    """Each call has a span in its own trace; only the one that started the request has events."""
    recorder = Recorder(transport=slow_transport())
    tracer = recorder.tracers.get_tracer("app")
    async with recorder.client() as htx:

        async def handler(name: str) -> None:
            with tracer.start_as_current_span(name):
                await htx.accounts.list()

        await asyncio.gather(handler("a"), handler("b"), handler("c"))
    calls = [span for span in recorder.finished if span.name.startswith("GET")]
    handlers = {span.name: span for span in recorder.finished if span not in calls}
    (starter,) = (span for span in calls if not span.links)
    coalesced = [span for span in calls if span is not starter]
    for span in coalesced:
        assert [link.context.span_id for link in span.links] == [starter.context.span_id]
        assert [event.name for event in span.events] == ["coalesced"]
        assert attributes(span)["htx.attempts"] == 1
    parents = {span.parent.span_id for span in calls if span.parent}
    assert parents == {handlers[name].context.span_id for name in "abc"}


@pytest.mark.usefixtures("virtual_time")
async def test_span_ends_when_starting_call_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """Coalesced calls keep their link, and nothing is logged."""
    recorder = Recorder(transport=slow_transport())
    with caplog.at_level(logging.DEBUG):
        async with recorder.client() as htx:
            await htx.get("/v1/x", limit=RateLimit(1, per=1.0))
            calls = [asyncio.create_task(htx.get("/v1/x", params={"a": 1})) for _ in range(2)]
            await asyncio.sleep(0.5)
            calls[0].cancel()
            await asyncio.sleep(0)
            calls.append(asyncio.create_task(htx.get("/v1/x", params={"a": 1})))
            await asyncio.gather(*calls, return_exceptions=True)
    _, cancelled, first, second = recorder.finished
    assert attributes(cancelled)["error.type"] == "CancelledError"
    assert cancelled.status.status_code is StatusCode.UNSET
    assert attributes(cancelled)["htx.attempts"] == 0
    assert attributes(cancelled)["htx.queued"] == pytest.approx(0.5)
    for span in (first, second):
        assert [link.context.span_id for link in span.links] == [cancelled.context.span_id]
    assert not [record for record in caplog.records if "opentelemetry" in record.name]
    assert not [record for record in caplog.records if "on_event" in record.getMessage()]


@pytest.mark.usefixtures("virtual_time")
async def test_retries_are_in_span_and_metrics() -> None:
    """Two attempts fail; each retry is queued for its token."""
    recorder = Recorder(transport=slow_transport(failing=2))
    policy = RetryPolicy(attempts=3, initial_delay=0.001)
    async with recorder.client(retry=policy) as htx:
        await htx.get("/v1/x", limit=RateLimit(1, per=1.0))
    (span,) = recorder.finished
    assert attributes(span)["htx.attempts"] == 3
    assert attributes(span)["http.request.resend_count"] == 2
    assert attributes(span)["htx.queued"] == pytest.approx(2.0, abs=0.01)
    names = [event.name for event in span.events]
    assert names.count("queued") == 2
    assert names.count("api_error") == 2
    metrics = recorder.metrics()
    (errors,) = metrics["htx.attempt.errors"]
    assert errors.value == 2
    assert errors.attributes["error.type"] == "ServiceUnavailableError"
    (queued,) = metrics["htx.call.queued"]
    assert queued.sum == pytest.approx(2.0, abs=0.01)
    (duration,) = metrics["htx.call.duration"]
    assert duration.sum == pytest.approx(5.0, abs=0.02)
    assert duration.attributes["http.response.status_code"] == 200
    assert duration.attributes["url.template"] == "/v1/x"


@pytest.mark.usefixtures("virtual_time")
async def test_span_of_failed_call_has_error_type_and_status() -> None:
    recorder = Recorder()
    async with recorder.client(Credentials("access-key", "wrong")) as htx:
        with pytest.raises(SignatureError):
            await htx.accounts.list()
    (span,) = recorder.finished
    assert attributes(span)["error.type"] == "SignatureError"
    assert attributes(span)["http.response.status_code"] == 200
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.usefixtures("virtual_time")
async def test_span_of_timed_out_call_has_no_status() -> None:
    recorder = Recorder(transport=slow_transport())
    async with recorder.client(timeout=0.5, retry=NO_RETRY) as htx:
        with pytest.raises(DeadlineExceededError):
            await htx.accounts.list()
    (span,) = recorder.finished
    assert attributes(span)["error.type"] == "DeadlineExceededError"
    assert attributes(span)["htx.attempts"] == 1
    assert "http.response.status_code" not in attributes(span)


@pytest.mark.usefixtures("virtual_time")
async def test_gauges_of_available_tokens_and_clock_offset() -> None:
    """As of the last event; full again once all tokens have returned; none before a call."""
    recorder = Recorder()

    def available() -> dict[str, int]:
        points = recorder.metrics().get("htx.rate_limit.available", [])
        return {point.attributes["url.template"]: point.value for point in points}

    async with recorder.client() as htx:
        assert not recorder.metrics()
        await htx.points.balance()
        assert available() == {"/v2/point/account": 1}
        await htx.points.balance()
        await htx.accounts.list()
        assert available() == {"/v2/point/account": 0, "/v1/account/accounts": 99}
        (offset,) = recorder.metrics()["htx.clock.offset"]
        assert offset.value == pytest.approx(0.0, abs=1.0)
        await asyncio.sleep(1.5)
        assert available() == {"/v2/point/account": 2, "/v1/account/accounts": 99}


@pytest.mark.usefixtures("virtual_time")
async def test_gauge_excludes_token_in_use() -> None:
    """However long the request takes."""
    recorder = Recorder(transport=slow_transport())
    async with recorder.client() as htx:
        call = asyncio.create_task(htx.get("/v1/x", limit=RateLimit(2, per=0.1)))
        await asyncio.sleep(0.5)
        (point,) = recorder.metrics()["htx.rate_limit.available"]
        assert point.value == 1
        await call


@pytest.mark.usefixtures("virtual_time")
async def test_spans_and_metrics_have_no_secret_and_no_query() -> None:
    recorder = Recorder(transport=slow_transport(failing=1))
    access_key, secret_key = "AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210"
    async with recorder.client(Credentials(access_key, secret_key)) as htx:
        await htx.get("/v1/account/history", params={"account-id": 424242})
    text = " ".join(span.to_json() for span in recorder.finished) + repr(recorder.metrics())
    assert "/v1/account/history" in text
    for secret in (access_key, secret_key, "424242", "Signature", "account-id"):
        assert secret not in text


@pytest.mark.parametrize(
    ("base_url", "port"), [("http://127.0.0.1:8123", 8123), ("http://127.0.0.1", 80)]
)
@pytest.mark.usefixtures("virtual_time")
async def test_span_has_server_address_and_port(base_url: str, port: int) -> None:
    recorder = Recorder(transport=slow_transport())
    async with recorder.client(base_url=base_url) as htx:
        await htx.accounts.list()
    (span,) = recorder.finished
    server = (attributes(span)["server.address"], attributes(span)["server.port"])
    assert server == ("127.0.0.1", port)


async def test_telemetry_without_providers_does_nothing(virtual_time: VirtualClock) -> None:
    """The default of the global providers."""
    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    async with HTXClient(
        KEYS, transport=transport, clock=virtual_time, on_event=Telemetry(clock=virtual_time)
    ) as htx:
        await asyncio.gather(htx.accounts.list(), htx.accounts.list())


def test_telemetry_without_opentelemetry_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InvalidInputError, match=r'pip install "htx-async\[otel\]"') as caught:
        Telemetry()
    assert caught.value.__suppress_context__


def test_schema_drift_is_counted_by_name() -> None:
    reader = InMemoryMetricReader()
    recorder = Recorder(reader=reader)
    telemetry = Telemetry(recorder.tracers, MeterProvider([reader]))
    telemetry(
        Event(kind="schema_drift", endpoint="GET /x", request_id=1, at=DAY, unknown="data.new")
    )
    (point,) = recorder.metrics()["htx.schema_drift"]
    assert point.value == 1
    assert point.attributes["htx.schema_drift"] == "data.new"


async def test_stream_metrics(virtual_time: VirtualClock) -> None:
    """Age, audits, gaps and reconnects of streams, until they are closed."""
    recorder = Recorder(clock=virtual_time)
    telemetry = Telemetry(meter_provider=recorder.meters, clock=virtual_time)
    setup = make(virtual_time)
    live, other = setup.stream(), setup.stream(audit_interval=1.0)
    telemetry.observe(live)
    assert recorder.metrics() == {}
    async with live:
        telemetry.observe(other)
        async with other:
            await asyncio.sleep(1.5)
        setup.exchange.read_errors.append(NoResponseError("down"))
        setup.exchange.socket.cut()
        await asyncio.sleep(5)
        metrics = recorder.metrics()
        (age,) = metrics["htx.stream.age"]
        assert age.value == pytest.approx(live.age) != 0
        (gaps,) = metrics["htx.stream.gaps"]
        assert (gaps.value, gaps.attributes) == (1, {"htx.gap.reason": "disconnected"})
        (reconnects,) = metrics["htx.stream.reconnects"]
        assert reconnects.value == 1
        audits = {each.attributes.get("error.type"): each for each in metrics["htx.stream.audits"]}
        assert audits["NoResponseError"].value == 1
        assert audits[None].value > len(setup.exchange.reads) - 1  # those of both streams
    counted = [point.value for point in recorder.metrics()["htx.stream.audits"]]
    async with setup.stream():
        await asyncio.sleep(1)
    metrics = recorder.metrics()
    assert "htx.stream.age" not in metrics
    assert [point.value for point in metrics["htx.stream.audits"]] == counted


async def test_stream_metrics_do_not_keep_the_stream(virtual_time: VirtualClock) -> None:
    recorder = Recorder(clock=virtual_time)
    telemetry = Telemetry(meter_provider=recorder.meters, clock=virtual_time)
    setup = make(virtual_time)
    live = setup.stream()
    telemetry.observe(live)
    assert recorder.metrics() == {}  # its age is infinite
    gone = weakref.ref(live)
    del live
    gc.collect()
    assert gone() is None
    assert recorder.metrics() == {}
    telemetry.observe(setup.stream())
    assert len(telemetry._streams) == 1
