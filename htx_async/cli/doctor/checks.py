"""Checks of `htx-async doctor`, in order: settings, network, HTX's response, key, rate limit."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import attrs

from htx_async import (
    NO_RETRY,
    APIKeyInfo,
    Clock,
    Credentials,
    DecodeError,
    HTXClient,
    HTXError,
    InvalidInputError,
)
from htx_async.cli.doctor import diagnosis
from htx_async.cli.doctor.finding import Finding, Verdict, skipped
from htx_async.cli.session import BASE_URL_VARIABLE, NO_KEYS
from htx_async.resources.accounts import LIST
from htx_async.transports.base import CONNECT_TIMEOUT
from htx_async.transports.environment import Proxy, proxy_for, tls_context_for
from htx_async.validation import Origin, base_url_problem, parse_base_url

TIMEOUT = 15.0
"""Seconds for one call: more than the connect timeout."""

TIME = "/v1/common/timestamp"
"""HTX, "Get system timestamp"."""

_TIME_RESOLUTION = 0.001
"""Seconds: HTX reports its time in milliseconds."""

_KEY_ADVICE = "See htx-async --help. HTX's API management creates keys."
_BASE_URL_ADVICE = "Unset HTX_BASE_URL, or set it to https://api.huobi.pro"
_PROXY_ADVICE = "Set HTTPS_PROXY or ALL_PROXY to http://user:password@host:port, or unset it."
_TLS_ADVICE = "Correct the path or its content, or unset the variable."


@attrs.frozen
class DoctorContext:
    """
    What the checks examine, and with which clock and transport.

    Attributes:
        credentials: The keys, or the error that reading them raised.
        base_url: HTX's address as set, not validated yet.
    """

    credentials: Credentials | InvalidInputError
    base_url: str
    clock: Clock = attrs.field(factory=Clock)
    transport: Any = None

    def client(self) -> HTXClient:
        """Return a client that does not retry."""
        credentials = self.credentials
        return HTXClient(
            credentials if isinstance(credentials, Credentials) else NO_KEYS,
            base_url=self.base_url,
            timeout=TIMEOUT,
            retry=NO_RETRY,
            clock=self.clock,
            transport=self.transport,
        )


async def examine(context: DoctorContext) -> AsyncGenerator[Finding]:
    """Yield a finding for each of the `STEPS`, in order, also for those that are skipped."""
    findings: list[Finding] = []
    async with aclosing(_checks(context)) as results:
        async for result in results:
            for finding in (*skipped(findings, result.step), result):
                findings.append(finding)
                yield finding
    for finding in skipped(findings):
        yield finding


async def _checks(context: DoctorContext) -> AsyncGenerator[Finding]:
    if problem := base_url_problem(context.base_url, BASE_URL_VARIABLE):
        yield diagnosis.bad_setting("settings", InvalidInputError(problem), _BASE_URL_ADVICE)
        return
    origin = parse_base_url(context.base_url)
    if isinstance(context.credentials, Credentials):
        yield diagnosis.settings(context.credentials, origin)
    else:
        yield diagnosis.bad_setting("settings", context.credentials, _KEY_ADVICE)
    is_usable = True
    async for finding in _check_network(origin, context.clock):
        yield finding
        is_usable = finding.verdict is not Verdict.BAD_SETTING
    if not is_usable:
        return
    async with context.client() as htx:
        async for finding in _check_api(htx, context):
            yield finding


async def _check_network(origin: Origin, clock: Clock) -> AsyncGenerator[Finding]:
    try:
        proxy = proxy_for(origin)
    except InvalidInputError as error:
        yield diagnosis.bad_setting("proxy", error, _PROXY_ADVICE)
        return
    yield diagnosis.proxy(proxy, origin)
    host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
    dns = await _resolve(host, port, clock)
    yield dns
    context = await _tls_context(origin, proxy)
    if dns.verdict is Verdict.OK:
        verified = context if proxy is None and isinstance(context, ssl.SSLContext) else None
        for finding in await _connect(host, port, clock, verified):
            yield finding
    if isinstance(context, InvalidInputError):
        yield diagnosis.bad_setting("TLS", context, _TLS_ADVICE)
    elif origin.scheme == "http":
        yield Finding("TLS", Verdict.OK, "not used on loopback")
    elif proxy is not None:
        yield Finding("TLS", Verdict.UNKNOWN, "through the proxy: verified if HTX responds")


async def _tls_context(
    origin: Origin, proxy: Proxy | None
) -> ssl.SSLContext | InvalidInputError | None:
    """Return the context for TLS, or what is wrong with the settings; `None`: not needed."""
    try:
        return await asyncio.to_thread(tls_context_for, origin, proxy)
    except InvalidInputError as error:
        return error


async def _resolve(host: str, port: int, clock: Clock) -> Finding:
    since, loop = clock.monotonic(), asyncio.get_running_loop()
    try:
        async with clock.timeout(CONNECT_TIMEOUT):
            results = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # `TimeoutError` is an `OSError`
        return diagnosis.dns_failed(host, error)
    addresses = list(dict.fromkeys(str(result[4][0]) for result in results))
    return diagnosis.dns(host, addresses, clock.monotonic() - since)


async def _connect(
    host: str, port: int, clock: Clock, context: ssl.SSLContext | None
) -> tuple[Finding, ...]:
    target, since = f"{host} port {port}", clock.monotonic()
    try:
        async with clock.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        connected = diagnosis.connection(target, clock.monotonic() - since)
        return connected, diagnosis.tls_failed(error)
    except OSError as error:
        return (diagnosis.connection_failed(target, error),)
    connected = diagnosis.connection(target, clock.monotonic() - since)
    findings = (connected, *((_tls(writer, clock),) if context else ()))
    writer.transport.abort()  # nothing was sent, so there is nothing to close cleanly
    return findings


def _tls(writer: asyncio.StreamWriter, clock: Clock) -> Finding:
    version = writer.get_extra_info("ssl_object").version()
    expiry = ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notAfter"])
    return diagnosis.tls(version, expiry, clock.now())


async def _check_api(htx: HTXClient, context: DoctorContext) -> AsyncGenerator[Finding]:
    findings = await _check_clock(htx, context.clock)
    for finding in findings:
        yield finding
    has_keys = isinstance(context.credentials, Credentials)
    if findings[0].verdict is not Verdict.OK or not has_keys:
        return
    try:
        accounts = await htx.accounts.list()
    except HTXError as error:
        for finding in diagnosis.key_error_findings(error):
            yield finding
        return
    for finding in diagnosis.key_findings(await _key_info(htx), len(accounts)):
        yield finding
    yield diagnosis.limits(htx.limits()[LIST.name])


async def _check_clock(htx: HTXClient, clock: Clock) -> tuple[Finding, ...]:
    since = clock.monotonic()
    try:
        await htx.get(TIME, signed=False)
        elapsed = clock.monotonic() - since
        # On the open connection the second response is not delayed by DNS and TLS.
        sent = clock.now()
        server_time = _to_seconds((await htx.get(TIME, signed=False)).data)
        received = clock.now()
    except HTXError as error:
        return (diagnosis.failed("response", error),)
    offset = server_time - (sent + received) / 2
    uncertainty = (received - sent) / 2 + _TIME_RESOLUTION
    response = Finding("response", Verdict.OK, f"HTX responded in {diagnosis.ms(elapsed)}")
    return response, diagnosis.clock(offset, uncertainty)


def _to_seconds(data: object) -> float:
    if isinstance(data, int):
        return data / 1000
    text = "HTX's time is not a number of milliseconds"
    raise DecodeError(text, path="data")


async def _key_info(htx: HTXClient) -> APIKeyInfo | None:
    """Return HTX's description of the key, which only parent users can request."""
    try:
        return await htx.users.api_key()
    except HTXError:
        return None
