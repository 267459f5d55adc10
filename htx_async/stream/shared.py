"""The connection that all streams of a client share: sockets, timers and REST reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import random
from collections.abc import AsyncIterable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from htx_async.auth.credentials import Credentials, secrets_of
from htx_async.auth.provider import CredentialStore
from htx_async.auth.signature import websocket_params
from htx_async.clock import Clock, ServerClock
from htx_async.error_codes import cause_of
from htx_async.errors import (
    APIError,
    AuthenticationError,
    ConnectError,
    HTXError,
    NoResponseError,
    copy_error,
)
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance
from htx_async.models.movements import HistoryRecord
from htx_async.redaction import excerpt, redact_unknown
from htx_async.stream.account_state import FollowedAccount
from htx_async.stream.events import StreamEvent, StreamStatus
from htx_async.stream.follower import Follower
from htx_async.stream.messages import PATH, Reply
from htx_async.stream.observer import Observer
from htx_async.stream.session import STEP_TIMEOUT, Outcome, Session
from htx_async.stream.sockets import OpenSocket, Socket, SocketClosedError
from htx_async.validation import Origin

FIRST_DELAY, LAST_DELAY = 0.25, 20.0
"""Seconds until the next connection: the shortest, and the longest of the backoff."""
_CLOSE_TIMEOUT = 2.0
_STABLE = 30.0
"""Seconds after which a connection that is lost does not count as a failure."""
_DIAGNOSABLE = (2000, 2002)
"""Codes that do not distinguish causes; REST does."""
_TOO_MANY_REQUESTS = 429
_FATAL = (2001,)
"""Codes of requests that HTX does not understand."""

_log: Final = logging.getLogger("htx_async")


class Accounts(Protocol):
    """The reads of `htx.accounts` that a stream needs."""

    async def list(self) -> tuple[Account, ...]:
        """Return all accounts."""
        ...

    async def balance(self, account: Account | int | str) -> AccountBalance:
        """Return the balance of an account."""
        ...

    def history(self, account: int, *, start: datetime) -> AsyncIterable[HistoryRecord]:
        """Return the changes of an account's balances."""
        ...


class Settings(NamedTuple):
    """What connections need of their client, and how to open one."""

    origin: Origin
    clock: Clock
    server_clock: ServerClock
    credentials: CredentialStore
    open_socket: OpenSocket
    jitter: Callable[[], float] = random.random


class _End(NamedTuple):
    """Why a connection has ended."""

    error: HTXError
    reply: Reply | None = None
    is_final: bool = False


class SharedConnection:
    """
    Connects, reconnects, and runs the session.

    Attributes:
        error: The last failure; `None`: there was none since the last subscription.
        is_refused: Whether HTX refused the key, and `error` is final.
    """

    def __init__(self, settings: Settings, accounts: Accounts, observe: Observer) -> None:
        self.session: Session = Session()
        self.error: HTXError | None = None
        self.is_refused: bool = False
        self._settings = settings
        self._clock = settings.clock
        self._accounts = accounts
        self._observe = observe
        self._task: asyncio.Task[None] | None = None
        self._audits: set[asyncio.Task[None]] = set()
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._ended: asyncio.Future[_End] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = math.inf
        self._signed_at = 0.0
        self._progress: asyncio.Event = asyncio.Event()
        self._is_repeated = False
        self._is_closed = False

    def follow(
        self,
        accounts: Iterable[Account],
        interval: float,
        emit: Callable[[StreamEvent], object],
        on_status: Callable[[StreamStatus], object],
    ) -> Follower:
        """Follow *accounts*; connect if nobody did so far, or HTX refused the key before."""
        now = self._clock.monotonic()
        states = self.session.follow(accounts, interval, now)
        follower = Follower(states, interval, emit, on_status, self._to_datetime)
        self._apply(self.session.add(follower, now))
        if self._task is None or self._task.done():
            self.error, self.is_refused, self._is_repeated = None, False, False
            self._task = asyncio.create_task(self._run(), name="htx_async stream")
            self._task.add_done_callback(self._on_end)
        return follower

    def audit(self, account: FollowedAccount) -> None:
        """Read an account by REST now."""
        self._apply(self.session.audit(account, self._clock.monotonic()))

    async def wait(self) -> None:
        """Wait until something has happened besides pushes."""
        await self._progress.wait()

    async def aclose(self) -> None:
        """Close the connection, and end all tasks. Cancelling this does not disturb them."""
        tasks = [task for task in (self._task, *self._audits) if task is not None]
        if not self._is_closed:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
            for task in tasks:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def notify(self) -> None:
        """Wake everything that waits for progress."""
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()

    def _on_end(self, _: object) -> None:
        """Note that nothing is pushed any more; also after a fault, or if others end the task."""
        if not self._is_closed and self.session.phase != "disconnected":
            self.session.cut(self._clock.monotonic())
            self.notify()

    def _to_datetime(self, at: float) -> datetime:
        """Return the wall-clock time of *at* (monotonic seconds)."""
        wall = self._clock.now() - self._clock.monotonic() + at
        return datetime.fromtimestamp(wall, UTC)

    async def _run(self) -> None:
        failures = 0
        while True:
            self.session.connecting(self._clock.monotonic())
            started_at = self._clock.monotonic()
            end = await self._connect()
            now = self._clock.monotonic()
            self._observe("lost", end.error)
            self.session.cut(now)
            was_repeated = self._is_repeated
            if end.reply is not None:
                end = await self._diagnose(end, end.reply)
            if self._is_repeated and not was_repeated:
                continue  # at once, with the corrected clock
            self.error = end.error
            if end.is_final:
                break
            self.notify()
            failures = 0 if now - started_at > _STABLE else failures + 1
            longest = min(FIRST_DELAY * 2 ** min(failures, 16), LAST_DELAY)
            await self._clock.sleep(max(FIRST_DELAY, longest * self._settings.jitter()))
        self.is_refused = True
        self.session.refuse(copy_error(end.error))
        self.notify()

    async def _connect(self) -> _End:
        """Open a connection, serve it until it is lost, and return why."""
        try:
            async with self._clock.timeout(STEP_TIMEOUT):
                await self._settings.credentials.ensure()
                socket = await self._settings.open_socket()
        except TimeoutError:
            text = f"{self._settings.origin}{PATH}: no connection within {STEP_TIMEOUT:g} s"
            return _End(ConnectError(text))
        except HTXError as error:
            return _End(error.with_traceback(None))
        self._outbox = asyncio.Queue()
        ended: asyncio.Future[_End]
        ended = self._ended = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(self._read(socket)), asyncio.create_task(self._write(socket))]
        try:
            self._observe("opened", None)
            self.session.opened(self._clock.monotonic())
            self._arm()
            waited: list[asyncio.Future[Any]] = [*tasks, ended]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ended = None
            for task in tasks:
                task.cancel()
            try:
                results = await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                await self._close(socket)
        if ended.done():
            return ended.result()
        reason = next(each for each in results if not isinstance(each, asyncio.CancelledError))
        if isinstance(reason, BaseException):  # a fault in this package
            raise reason
        return _End(NoResponseError(f"{self._settings.origin}{PATH}: {reason}"))

    async def _read(self, socket: Socket) -> str:
        """Pass messages to the session; it waits for nothing else. Return why it ended."""
        while True:
            try:
                message = await socket.receive()
            except SocketClosedError as error:
                return str(error)
            self._observe("received", message)
            self._apply(self.session.receive(message, self._clock.monotonic()))

    async def _write(self, socket: Socket) -> str:
        """Authenticate, and send what the session wants to send. Return why it ended."""
        try:
            await self._send(socket, None)
            while True:
                await self._send(socket, await self._outbox.get())
        except SocketClosedError as error:
            return str(error)
        except TimeoutError:
            return f"HTX did not accept a message within {STEP_TIMEOUT:g} s"

    async def _send(self, socket: Socket, text: str | None) -> None:
        """Send a message; `None`: the authentication, which no local may contain."""
        self._observe("sent", text)
        async with self._clock.timeout(STEP_TIMEOUT):
            await socket.send(self._authentication() if text is None else text)

    def _authentication(self) -> str:
        """Return the message that authenticates the connection. It is a secret."""
        settings = self._settings
        credentials, server_clock = settings.credentials.current, settings.server_clock
        assert credentials is not None, "the connection ensures it"
        offset = server_clock.offset() if self._is_repeated else None
        at = self._clock.now() + (server_clock.correction() if offset is None else offset)
        self._signed_at = at
        params = websocket_params(settings.origin.host, PATH, credentials, at)
        return json.dumps({"action": "req", "ch": "auth", "params": params})

    async def _close(self, socket: Socket) -> None:
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(_CLOSE_TIMEOUT):
                await socket.aclose()

    async def _diagnose(self, end: _End, reply: Reply) -> _End:
        """Return the error and whether it is final: a signed REST read shows the cause."""
        if reply.code not in _DIAGNOSABLE:
            return _End(end.error, is_final=reply.code in _FATAL)
        try:
            await self._accounts.list()
        except AuthenticationError as error:
            return _End(error.with_traceback(None), is_final=True)
        except HTXError as error:
            return _End(error.with_traceback(None))
        is_final, self._is_repeated = self._is_repeated, True
        return _End(end.error, is_final=is_final)

    def _apply(self, outcome: Outcome) -> None:
        """Do what the session wants."""
        if self._is_closed:
            return
        for text in outcome.send:
            self._outbox.put_nowait(text)
        for account_id in outcome.audits:
            task = asyncio.create_task(self._audit(account_id), name="htx_async audit")
            self._audits.add(task)
            task.add_done_callback(self._audits.discard)
        if outcome.refusal is not None:
            self._end(_End(self._error_of(outcome.refusal), outcome.refusal))
        elif outcome.reconnect:
            text = f"{self._settings.origin}{PATH}: {outcome.reconnect}"
            self._end(_End(NoResponseError(text)))
        self._arm()

    def _end(self, end: _End) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(end)

    def _error_of(self, reply: Reply) -> HTXError:
        """Return the error for what HTX refused. It may repeat a part of the request."""
        credentials = self._settings.credentials.current
        secrets = () if credentials is None else self._secrets(credentials)
        message = redact_unknown(excerpt(reply.text, secrets))
        del secrets
        status = _TOO_MANY_REQUESTS if reply.code == _TOO_MANY_REQUESTS else 200
        cause = cause_of(reply.code, message, status)
        kind, hint = (APIError, "") if cause is None else (cause.error, f". {cause.hint}")
        if credentials is not None and credentials.signature_method == "Ed25519":
            hint += " HTX does not document Ed25519 for WebSocket: try an HMAC-SHA256 key."
        what = f"HTX refused the stream: {message or 'no message'} ({reply.code})"
        return kind(
            f"{self._settings.origin}{PATH}: {what}{hint}",
            code=reply.code,
            message=message or None,
            retryable=cause is None or cause.retryable,
        )

    def _secrets(self, credentials: Credentials) -> tuple[str, ...]:
        """Return what was sent to authenticate; the signature is made again, as it is not kept."""
        host, at = self._settings.origin.host, self._signed_at
        signature = websocket_params(host, PATH, credentials, at)["signature"]
        # In a form, a plus sign is a blank.
        return (*secrets_of(credentials), signature, signature.replace("+", " "))

    async def _audit(self, account_id: int) -> None:
        """Read an account by REST, with all that the client does for a call."""
        sent_at = self._clock.monotonic()
        try:
            balance = await self._accounts.balance(account_id)
        except HTXError as error:
            failure = copy_error(error)
            self._observe("audit_failed", failure)
            outcome = self.session.fail(account_id, failure, self._clock.monotonic())
            if isinstance(error, AuthenticationError):
                self._end(_End(failure, is_final=True))
        else:
            self._observe("audited", (balance, sent_at))
            outcome = self.session.merge(balance, sent_at, self._clock.monotonic())
            self.error, self._is_repeated = None, False
        self._apply(outcome)
        self.notify()

    def _arm(self) -> None:
        """Set the timer for the next tick of the session."""
        at = self.session.next_at
        if at >= self._armed_at or self._is_closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = at
        delay = max(at - self._clock.monotonic(), 0.0)
        self._timer = self._clock.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._armed_at = None, math.inf
        self._apply(self.session.tick(self._clock.monotonic()))
        self.notify()
