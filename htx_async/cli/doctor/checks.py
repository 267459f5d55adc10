"""What the doctor does: looks at one thing after the other, and tells as it goes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import attrs

from htx_async import validation
from htx_async.auth.credentials import Credentials
from htx_async.cli.doctor import diagnosis
from htx_async.cli.doctor.diagnosis import Told
from htx_async.cli.doctor.finding import Finding, Verdict, skipped
from htx_async.client import HTXClient
from htx_async.clock import Clock
from htx_async.errors import DecodeError, HTXError, InvalidInputError
from htx_async.events import Listener
from htx_async.options import NO_RETRY
from htx_async.resources.accounts import LIST
from htx_async.transports.base import CONNECT_TIMEOUT, proxy_url
from htx_async.transports.httpx import proxy_for, tls_context
from htx_async.validation import Origin

TIMEOUT = 15.0
"""Seconds for one read: longer than a connection may take, and no one waits for ever."""

TIME, UID, KEYS = "/v1/common/timestamp", "/v2/user/uid", "/v2/user/api-key"
"""HTX, "Get system timestamp", "Get UID" and "API key query"."""

_TOLD_TO = 0.001
"""Seconds to which HTX tells its time."""
_PORTS = {"http": 80, "https": 443}
_SOCKS = 1080

_NO_KEY = Credentials("unset", "unset")
"""For a client that makes unsigned reads only."""

_KEYS = "Make a key in HTX's API management, then see: htx-async --help"
_HOSTS = "Unset HTX_BASE_URL, or set it to https://api.huobi.pro"
_PROXY = "Look at HTTPS_PROXY and ALL_PROXY: http://user:password@host:port"


@attrs.frozen
class Patient:
    """
    Who is examined.

    Attributes:
        credentials: The keys, or what is wrong with them.
        base_url: HTX's address, as it was set.
    """

    credentials: Credentials | InvalidInputError
    base_url: str
    clock: Clock = attrs.field(factory=Clock)
    listener: Listener | None = None
    transport: Any = None

    def client(self) -> HTXClient:
        """Return a client that reads once, and tells at once."""
        keys = self.credentials if isinstance(self.credentials, Credentials) else _NO_KEY
        return HTXClient(
            keys,
            base_url=self.base_url,
            timeout=TIMEOUT,
            retry=NO_RETRY,
            clock=self.clock,
            on_event=self.listener,
            transport=self.transport,
        )


async def examine(patient: Patient) -> AsyncGenerator[Finding]:
    """Yield what is found, step by step. What cannot be done says so."""
    found: list[Finding] = []
    async with aclosing(_steps(patient)) as steps:
        async for finding in steps:
            for each in (*skipped(found, finding.step), finding):
                found.append(each)
                yield each
    for each in skipped(found):
        yield each


async def _steps(patient: Patient) -> AsyncGenerator[Finding]:
    try:
        origin = validation.parse_base_url(patient.base_url)
    except InvalidInputError as error:
        yield diagnosis.misused("settings", error, _HOSTS)
        return
    yield _settings(patient, origin)
    async for finding in _way(origin, patient.clock):
        yield finding
    async with patient.client() as htx:
        async for finding in _answers(htx, patient):
            yield finding


def _settings(patient: Patient, origin: Origin) -> Finding:
    if isinstance(patient.credentials, Credentials):
        return diagnosis.settings(patient.credentials, origin)
    return diagnosis.misused("settings", patient.credentials, _KEYS)


async def _way(origin: Origin, clock: Clock) -> AsyncGenerator[Finding]:
    """Yield what is found on the way to HTX."""
    through = proxy_url(origin)
    try:
        host, port = _hop(origin)
    except InvalidInputError as error:
        yield diagnosis.misused("proxy", error, _PROXY)
        return
    yield diagnosis.proxy(through, origin)
    found = await _name(host, port, clock)
    yield found
    if found.verdict is Verdict.OK:
        context = tls_context() if through is None and origin.scheme == "https" else None
        for each in await _connect(host, port, clock, context):
            yield each
    if origin.scheme == "http":
        yield diagnosis.unprotected()
    elif through is not None:
        yield diagnosis.through_proxy()


def _hop(origin: Origin) -> tuple[str, int]:
    """Return where a connection goes: to HTX, or to the proxy."""
    proxy = proxy_for(origin)
    if proxy is None:
        return origin.host, origin.port
    return proxy.url.host, proxy.url.port or _PORTS.get(proxy.url.scheme, _SOCKS)


async def _name(host: str, port: int, clock: Clock) -> Finding:
    since, loop = clock.monotonic(), asyncio.get_running_loop()
    try:
        async with clock.timeout(CONNECT_TIMEOUT):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:  # TimeoutError is one
        return diagnosis.no_name(host, error)
    addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
    return diagnosis.name(host, addresses, clock.monotonic() - since)


async def _connect(
    host: str, port: int, clock: Clock, context: ssl.SSLContext | None
) -> tuple[Finding, ...]:
    where, since = f"{host} port {port}", clock.monotonic()
    try:
        async with clock.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return diagnosis.connection(where, clock.monotonic() - since), diagnosis.no_tls(error)
    except OSError as error:
        return (diagnosis.no_connection(where, error),)
    connected = diagnosis.connection(where, clock.monotonic() - since)
    found = (connected, *((_tls(writer, clock),) if context else ()))
    writer.transport.abort()  # it was never used: nothing has to be said
    return found


def _tls(writer: asyncio.StreamWriter, clock: Clock) -> Finding:
    version = writer.get_extra_info("ssl_object").version()
    ends = ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notAfter"])
    return diagnosis.tls(version, ends, clock.now())


async def _answers(htx: HTXClient, patient: Patient) -> AsyncGenerator[Finding]:
    """Yield what HTX itself says."""
    answers = await _time(htx, patient.clock)
    for each in answers:
        yield each
    if answers[0].verdict is not Verdict.OK or not isinstance(patient.credentials, Credentials):
        return
    error, accounts = await _accounts(htx)
    told = await _told(htx, patient.credentials) if error is None else None
    for each in diagnosis.of_key(error, told, accounts):
        yield each
    if error is None:
        yield diagnosis.limits(htx.limits()[LIST.name])


async def _time(htx: HTXClient, clock: Clock) -> tuple[Finding, ...]:
    since = clock.monotonic()
    try:
        await htx.get(TIME, signed=False)
        took = clock.monotonic() - since
        # The connection is there now: the second answer is as quick as the network.
        asked = clock.now()
        at = _seconds((await htx.get(TIME, signed=False)).data)
        answered = clock.now()
    except HTXError as error:
        return (diagnosis.no_answer(error),)
    offset = at - (asked + answered) / 2
    return diagnosis.answer(took), diagnosis.clock(offset, (answered - asked) / 2 + _TOLD_TO)


def _seconds(data: object) -> float:
    if isinstance(data, int):
        return data / 1000
    text = "what HTX says is no time of day"
    raise DecodeError(text, path="data")


async def _accounts(htx: HTXClient) -> tuple[HTXError | None, int]:
    try:
        return None, len(await htx.accounts.list())
    except HTXError as error:
        return error, 0


async def _told(htx: HTXClient, credentials: Credentials) -> Told | None:
    """Return what HTX tells of the key. It tells parent users only; others do without."""
    try:
        uid = (await htx.get(UID)).data
        rows = (await htx.get(KEYS, params={"uid": uid})).data
    except HTXError:
        return None
    return diagnosis.told(rows, credentials.auth_params()[0][1])
