"""Law 7, no secret leaves: they are looked for wherever something is said."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from rich.console import Console
from rich.traceback import Traceback

from htx_async import Credentials, HTXClient, HTXError, RetryPolicy
from htx_async.sandbox import Sandbox

TWICE = RetryPolicy(attempts=2, initial_delay=0.001)
ACCESS, SECRET = "AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210"

ANSWERS = {
    "a page that repeats the request": b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s",
    "a refusal that repeats the request": (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"  # the body is made JSON below
    ),
    "a redirect to the request": b"HTTP/1.1 302 Found\r\nLocation: http://portal/?to=%s\r\n\r\n",
    "a cut body": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n%s",
    "no HTTP": b"%s\r\n\r\n",
    "nothing": b"",
}


class Echo:
    """A server that repeats what it was asked, in all the ways of `ANSWERS`."""

    def __init__(self) -> None:
        self.how = ""
        self.signatures: set[str] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split()[1]
        asked = parse_qs(urlsplit(target.decode()).query)
        self.signatures |= set(asked.get("Signature", ()))
        writer.write(self._answer(target))
        await writer.drain()
        writer.close()

    def _answer(self, target: bytes) -> bytes:
        template = ANSWERS[self.how]
        if self.how.startswith("a refusal"):
            target = b'{"status":"error","err-code":"%s","err-msg":"%s"}' % (target, target)
        if template.count(b"%") == 2:
            return template % (len(target), target)
        return template % target if b"%s" in template else template

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def heard() -> Iterator[io.StringIO]:
    """All that any logger says, at any level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root, names = logging.getLogger(), list(logging.root.manager.loggerDict)
    levels = {logger: logger.level for logger in (root, *map(logging.getLogger, names))}
    root.addHandler(handler)
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)


def everything_said_by(error: BaseException) -> Iterator[str]:
    """Return whatever an error tells, to whoever may ask it."""
    seen: BaseException | None = error
    while seen is not None:
        yield from (str(seen), repr(seen), repr(seen.args), repr(vars(seen)))
        yield from getattr(seen, "__notes__", ())
        yield "".join(traceback.TracebackException.from_exception(seen).format())
        yield _ours_with_locals(seen)
        seen = seen.__cause__ or seen.__context__
    yield repr(pickle.dumps(error))


def _ours_with_locals(error: BaseException) -> str:
    """Return the traceback as rich prints it with locals, from the first frame of ours on."""
    trace = error.__traceback__
    while trace is not None and "htx_async" not in trace.tb_frame.f_globals["__name__"]:
        trace = trace.tb_next
    console = Console(file=io.StringIO(), width=400)
    shown = Traceback.from_exception(
        type(error),
        error,
        trace,
        extra_lines=0,
        show_locals=True,
        locals_max_string=9999,
        locals_max_length=999,
    )
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    plain = traceback.TracebackException(type(error), error, trace, capture_locals=True)
    said = console.file.getvalue() + "".join(plain.format())
    if trace is not None:
        info = pytest.ExceptionInfo.from_exc_info((type(error), error, trace))
        said += str(info.getrepr(showlocals=True, funcargs=True, truncate_locals=False))
    return said


def assert_quiet(said: str, *secrets: str) -> None:
    """Fail if a secret is in *said*, as it is or percent-encoded."""
    for secret in (ACCESS, SECRET, *secrets):
        for form in (secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe="")):
            assert form not in said, f"{form} leaked: {said[:2000]}"


async def _failure(call: Callable[[], Awaitable[object]]) -> HTXError:
    with pytest.raises(HTXError) as caught:
        await call()
    return caught.value


async def _has_left(htx: HTXClient) -> None:
    """Let the loop run until a request is with the network."""
    async with asyncio.timeout(5):
        while not any(shared.request.call.in_flight for shared in htx._coalescing._calls):  # noqa: ASYNC110
            await asyncio.sleep(0)  # a flight has no event for it


@pytest.mark.slow
@pytest.mark.parametrize("how", ANSWERS)
async def test_failing_calls_show_nothing(
    how: str, heard: io.StringIO, transport_name: str
) -> None:
    """Whatever a server does with what it was asked, it does not come out at our end."""
    echo = Echo()
    echo.how = how
    async with (
        echo.serve() as base_url,
        HTXClient(Credentials(ACCESS, SECRET), base_url=base_url, retry=TWICE) as htx,
    ):
        errors = [
            await _failure(htx.accounts.list),
            await _failure(lambda: htx.accounts.balance(1)),
            await _failure(lambda: htx.points.balance(sub_uid=2)),
        ]
    assert len(echo.signatures) >= 2
    for error in errors:
        for said in everything_said_by(error):
            assert_quiet(said, *echo.signatures)
    assert transport_name != "httpx" or "receive_response" in heard.getvalue()
    assert_quiet(heard.getvalue(), *echo.signatures)


@pytest.mark.slow
async def test_no_connection_shows_nothing(heard: io.StringIO) -> None:
    """A refused connection tells where to, not what."""
    async with HTXClient(
        Credentials(ACCESS, SECRET), base_url="http://127.0.0.1:1", retry=TWICE
    ) as htx:
        error = await _failure(htx.accounts.list)
    assert "http://127.0.0.1:1" in str(error)
    for said in (*everything_said_by(error), heard.getvalue()):
        assert_quiet(said)


@pytest.mark.slow
async def test_good_and_refused_calls_show_nothing(heard: io.StringIO, transport_name: str) -> None:
    """Neither success nor a refused key is a reason to print one."""
    async with Sandbox().serve() as base_url:
        async with HTXClient(Credentials("access-key", "secret-key"), base_url=base_url) as htx:
            await htx.accounts.list()
            await htx.points.balance()
            quiet = [repr(htx), repr(vars(htx)), repr(vars(htx.accounts)), repr(vars(htx.points))]
        async with HTXClient(Credentials(ACCESS, SECRET), base_url=base_url, retry=TWICE) as htx:
            error = await _failure(htx.accounts.list)
            quiet += [repr(htx), repr(vars(htx)), *everything_said_by(error)]
    for said in (*quiet, heard.getvalue()):
        assert_quiet(said, "access-key", "secret-key")
    assert transport_name != "httpx" or "GET" in heard.getvalue()


@pytest.mark.slow
async def test_a_cancelled_call_shows_nothing(heard: io.StringIO) -> None:
    """The traceback of a cancellation does not reach into the layers that know the URL."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        htx = HTXClient(Credentials(ACCESS, SECRET), base_url=base_url, timeout=0.3)
        read = asyncio.create_task(htx.accounts.list())
        await _has_left(htx)
        read.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await read
        for said in (*everything_said_by(caught.value), heard.getvalue()):
            assert_quiet(said)
        error = await _failure(htx.accounts.list)
        for said in (*everything_said_by(error), heard.getvalue()):
            assert_quiet(said)
        await htx.aclose()


def in_a_local(secret: str) -> HTXError:
    """Return an error that passed a frame of ours in which *secret* was a local variable."""
    scope: dict[str, object] = {"__name__": "htx_async.planted", "HTXError": HTXError}
    code = "def fail(planted):\n    raise HTXError('x')"
    exec(code, scope)  # noqa: S102 - a frame that seems to be ours
    fail = scope["fail"]
    assert callable(fail)
    with pytest.raises(HTXError) as caught:
        fail(secret)
    return caught.value


@pytest.mark.parametrize("secret", [ACCESS, SECRET, "a+b/c="])
def test_the_hunt_finds_what_is_planted(secret: str, heard: io.StringIO) -> None:
    """A secret in any of the places is found, also percent-encoded."""
    noted, chained, told = HTXError("x"), HTXError("x"), HTXError("x")
    told.message = quote(secret, safe="")
    noted.add_note(f"https://api.huobi.pro/?Signature={quote(secret, safe='')}")
    chained.__context__ = ValueError(secret)
    logging.getLogger("httpcore.anything").debug("sent %s", secret)
    places = [
        *("\n".join(everything_said_by(error)) for error in (HTXError(secret), told)),
        *("\n".join(everything_said_by(error)) for error in (noted, chained, in_a_local(secret))),
        heard.getvalue(),
        _spans(lambda tracer: tracer.start_span("x", attributes={"url.full": secret}).end()),
    ]
    for place in places:
        with pytest.raises(AssertionError, match="leaked"):
            assert_quiet(place, secret)


def test_public_objects_show_nothing() -> None:
    """Neither their attributes nor their pickles, where they can be pickled at all."""
    keys = Credentials(ACCESS, SECRET)
    htx = HTXClient(keys)
    for thing in (keys, htx, htx.accounts, htx.points, htx.with_options(timeout=1.0)):
        names = [*getattr(thing, "__dict__", {}), *getattr(type(thing), "__slots__", ())]
        public = [getattr(thing, name) for name in names if not name.startswith("_")]
        assert_quiet(f"{thing!r} {getattr(thing, '__dict__', '')} {public}")
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(thing)


def _spans(act: Callable[[Tracer], object]) -> str:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    act(provider.get_tracer("test"))
    return "\n".join(str(span.to_json()) for span in exporter.get_finished_spans())


@pytest.mark.httpx
@pytest.mark.slow
async def test_traces_of_httpx_show_nothing() -> None:
    """OpenTelemetry's instrumentation of httpx, switched on over our own transport."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        async with Sandbox().serve() as base_url:
            async with HTXClient(Credentials("access-key", "secret-key"), base_url=base_url) as htx:
                await htx.accounts.list()
            async with HTXClient(
                Credentials(ACCESS, SECRET), base_url=base_url, retry=TWICE
            ) as htx:
                await _failure(htx.points.balance)
    finally:
        instrumentor.uninstrument()
    spans = exporter.get_finished_spans()
    assert len(spans) == 2
    for span in spans:
        assert "/account" in str(span.to_json())
        assert_quiet(str(span.to_json()), "access-key", "secret-key", "Signature=")
