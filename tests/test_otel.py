"""Telemetry: a span of each call, and metrics, through OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import logging
import sys
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
    RateLimit,
    RetryPolicy,
    SignatureError,
)
from htx_async.otel import Telemetry
from htx_async.sandbox import Sandbox
from tests.laws.test_secrets import assert_quiet
from tests.virtual import DAY, VirtualClock, run

KEYS = Credentials("access-key", "secret-key")


@attrs.define
class Setting:
    """A client with telemetry on virtual time, over a sandbox or another transport."""

    clock: VirtualClock = attrs.field(factory=VirtualClock)
    spans: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    tracers: TracerProvider = attrs.field(factory=TracerProvider)
    transport: httpx.AsyncBaseTransport | None = None

    def client(self, keys: Credentials = KEYS, **options: Any) -> HTXClient:
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        telemetry = Telemetry(self.tracers, meters, clock=self.clock)
        transport = self.transport or httpx.ASGITransport(app=Sandbox(clock=self.clock))
        return HTXClient(keys, transport=transport, clock=self.clock, on_event=telemetry, **options)

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
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


def told(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


class Slow(httpx.AsyncBaseTransport):
    """Answers after a second; the first *failing* times with 503."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.current: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        self.current.append(f"{get_current_span().get_span_context().span_id:x}")
        await asyncio.sleep(1.0)
        self.failing -= 1
        if self.failing >= 0:
            return httpx.Response(503)
        return httpx.Response(200, json={"status": "ok", "data": []})


def test_a_call_is_a_span() -> None:
    """With the names of the semantic conventions, and what happened on the way."""
    setting = Setting()

    async def main() -> None:
        async with setting.client() as htx:
            await htx.accounts.balance(1000001)

    run(main())
    (span,) = setting.ended
    assert span.name == "GET /v1/account/accounts/{account-id}/balance"
    assert span.kind is SpanKind.CLIENT
    assert dict(told(span)) == {
        "http.request.method": "GET",
        "url.template": "/v1/account/accounts/{account-id}/balance",
        "server.address": "api.huobi.pro",
        "server.port": 443,
        "http.response.status_code": 200,
        "htx.attempts": 1,
        "htx.wait": 0.0,
    }
    assert [event.name for event in span.events] == ["acquired", "sent", "response"]
    assert span.status.status_code is StatusCode.UNSET
    assert span.parent is None
    assert span.start_time == int(DAY * 10**9)


async def test_the_span_of_the_handler_is_the_parent() -> None:
    """And the span of the call is current for what is done for it, and only there."""
    transport = Slow()
    setting = Setting(transport=transport)

    async def main() -> None:
        tracer = setting.tracers.get_tracer("app")
        async with setting.client() as htx:
            with tracer.start_as_current_span("handler") as handler:
                await htx.accounts.list()
                assert get_current_span() is handler
                await asyncio.gather(htx.accounts.list(), asyncio.sleep(0))
                assert get_current_span() is handler

    await asyncio.to_thread(run, main())
    first, second, handler = setting.ended
    for call in (first, second):
        assert call.parent is not None
        assert call.parent.span_id == handler.context.span_id
    assert transport.current == [f"{call.context.span_id:x}" for call in (first, second)]


def test_who_joins_is_linked_to_the_flight() -> None:
    """Each call has a span in its own trace; only who began the read sees what happens to it."""
    setting = Setting(transport=Slow())

    async def main() -> None:
        tracer = setting.tracers.get_tracer("app")

        async def handler(name: str) -> None:
            with tracer.start_as_current_span(name):
                await htx.accounts.list()

        async with setting.client() as htx:
            await asyncio.gather(handler("a"), handler("b"), handler("c"))

    run(main())
    calls = [span for span in setting.ended if span.name.startswith("GET")]
    handlers = {span.name: span for span in setting.ended if span not in calls}
    (starter,) = (span for span in calls if not span.links)
    joined = [span for span in calls if span is not starter]
    for span in joined:
        assert [link.context.span_id for link in span.links] == [starter.context.span_id]
        assert [event.name for event in span.events] == ["coalesced"]
        assert told(span)["htx.attempts"] == 1
    parents = {span.parent.span_id for span in calls if span.parent}
    assert parents == {handlers[name].context.span_id for name in "abc"}


def test_who_began_may_leave(caplog: pytest.LogCaptureFixture) -> None:
    """Its span ends with it; the others keep their link, and nobody complains."""
    setting = Setting(transport=Slow())

    async def main() -> None:
        async with setting.client() as htx:
            await htx.get("/v1/x", limit=RateLimit(1, per=1.0))
            reads = [asyncio.create_task(htx.get("/v1/x", params={"a": 1})) for _ in range(2)]
            await asyncio.sleep(0.5)
            reads[0].cancel()
            await asyncio.sleep(0)
            reads.append(asyncio.create_task(htx.get("/v1/x", params={"a": 1})))
            await asyncio.gather(*reads, return_exceptions=True)

    with caplog.at_level(logging.DEBUG):
        run(main())
    _, left, first, second = setting.ended
    assert told(left)["error.type"] == "CancelledError"
    assert left.status.status_code is StatusCode.UNSET
    assert told(left)["htx.attempts"] == 0
    assert told(left)["htx.wait"] == pytest.approx(0.5)
    for span in (first, second):
        assert [link.context.span_id for link in span.links] == [left.context.span_id]
    assert not [record for record in caplog.records if "opentelemetry" in record.name]
    assert not [record for record in caplog.records if "on_event" in record.getMessage()]


def test_attempts_and_waits_are_told() -> None:
    """Two attempts fail; each waits for its token."""
    setting = Setting(transport=Slow(failing=2))

    async def main() -> None:
        policy = RetryPolicy(attempts=3, initial_delay=0.001)
        async with setting.client(retry=policy) as htx:
            await htx.get("/v1/x", limit=RateLimit(1, per=1.0))

    run(main())
    (span,) = setting.ended
    assert told(span)["htx.attempts"] == 3
    assert told(span)["http.request.resend_count"] == 2
    assert told(span)["htx.wait"] == pytest.approx(2.0, abs=0.01)
    names = [event.name for event in span.events]
    assert names.count("queued") == 2
    assert names.count("api_error") == 2
    metrics = setting.metrics()
    (errors,) = metrics["htx.attempt.errors"]
    assert errors.value == 2
    assert errors.attributes["error.type"] == "ServiceUnavailableError"
    (wait,) = metrics["htx.call.wait"]
    assert wait.sum == pytest.approx(2.0, abs=0.01)
    (duration,) = metrics["htx.call.duration"]
    assert duration.sum == pytest.approx(5.0, abs=0.02)
    assert duration.attributes["http.response.status_code"] == 200
    assert duration.attributes["url.template"] == "/v1/x"


def test_failures_have_a_type() -> None:
    """The class of the error, and its status where there was an answer."""
    setting = Setting()

    async def main() -> None:
        async with setting.client(Credentials("access-key", "wrong")) as htx:
            with pytest.raises(SignatureError):
                await htx.accounts.list()

    run(main())
    (span,) = setting.ended
    assert told(span)["error.type"] == "SignatureError"
    assert told(span)["http.response.status_code"] == 200
    assert span.status.status_code is StatusCode.ERROR


def test_a_deadline_is_told() -> None:
    """Also where nothing was answered."""
    setting = Setting(transport=Slow())

    async def main() -> None:
        async with setting.client(timeout=0.5, retry=NO_RETRY) as htx:
            with pytest.raises(DeadlineExceededError):
                await htx.accounts.list()

    run(main())
    (span,) = setting.ended
    assert told(span)["error.type"] == "DeadlineExceededError"
    assert told(span)["htx.attempts"] == 1
    assert "http.response.status_code" not in told(span)


@pytest.mark.usefixtures("virtual_time")
async def test_the_level_of_the_budget_and_the_clock() -> None:
    """As of the last event; full again when all tokens are back; nothing before the first one."""
    setting = Setting()

    def level() -> dict[str, int]:
        points = setting.metrics().get("htx.budget.free", [])
        return {point.attributes["url.template"]: point.value for point in points}

    async with setting.client() as htx:
        assert not setting.metrics()
        await htx.points.balance()
        assert level() == {"/v2/point/account": 1}
        await htx.points.balance()
        await htx.accounts.list()
        assert level() == {"/v2/point/account": 0, "/v1/account/accounts": 99}
        (offset,) = setting.metrics()["htx.clock.offset"]
        assert offset.value == pytest.approx(0.0, abs=1.0)
        await asyncio.sleep(1.5)
        assert level() == {"/v2/point/account": 2, "/v1/account/accounts": 99}


@pytest.mark.usefixtures("virtual_time")
async def test_a_token_that_is_out_is_not_free() -> None:
    """However long it has been out."""
    setting = Setting(transport=Slow())
    async with setting.client() as htx:
        read = asyncio.create_task(htx.get("/v1/x", limit=RateLimit(2, per=0.1)))
        await asyncio.sleep(0.5)
        (point,) = setting.metrics()["htx.budget.free"]
        assert point.value == 1
        await read


def test_no_secret_and_no_query_is_told() -> None:
    """In no span and no metric."""
    setting = Setting(transport=Slow(failing=1))
    access, secret = "AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210"

    async def main() -> None:
        async with setting.client(Credentials(access, secret)) as htx:
            await htx.get("/v1/account/history", params={"account-id": 424242})

    run(main())
    said = " ".join(span.to_json() for span in setting.ended) + repr(setting.metrics())
    assert_quiet(said, "424242", "Signature=", "account-id=")
    assert "/v1/account/history" in said


@pytest.mark.parametrize(
    ("base_url", "port"), [("http://127.0.0.1:8123", 8123), ("http://127.0.0.1", 80)]
)
def test_a_client_of_a_loopback_port(base_url: str, port: int) -> None:
    """Host and port are two attributes."""
    setting = Setting(transport=Slow())

    async def main() -> None:
        async with setting.client(base_url=base_url) as htx:
            await htx.accounts.list()

    run(main())
    (span,) = setting.ended
    assert (told(span)["server.address"], told(span)["server.port"]) == ("127.0.0.1", port)


async def test_without_providers_it_costs_nothing_and_harms_nobody(
    virtual_time: VirtualClock,
) -> None:
    """The global ones do nothing until somebody sets them."""
    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    async with HTXClient(
        KEYS, transport=transport, clock=virtual_time, on_event=Telemetry(clock=virtual_time)
    ) as htx:
        await asyncio.gather(htx.accounts.list(), htx.accounts.list())


def test_without_opentelemetry_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything happens."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InvalidInputError, match=r'pip install "htx-async\[otel\]"') as caught:
        Telemetry()
    assert caught.value.__suppress_context__


def test_what_nobody_knows_is_counted() -> None:
    """By its name."""
    setting = Setting()
    setting.client()
    telemetry = Telemetry(setting.tracers, MeterProvider([reader := InMemoryMetricReader()]))
    telemetry(
        Event(kind="schema_drift", endpoint="GET /x", request_id=1, at=DAY, unknown="data.new")
    )
    setting.reader = reader
    (point,) = setting.metrics()["htx.unknown"]
    assert point.value == 1
    assert point.attributes["htx.unknown"] == "data.new"
