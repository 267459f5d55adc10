"""One connection to a stream of the sandbox, without I/O."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

import attrs
import msgspec

from htx_async.sandbox import auth
from htx_async.sandbox.changes import BalanceUpdate, snapshot_of
from htx_async.sandbox.connection import ConnectionFault
from htx_async.sandbox.context import ReceivedRequest
from htx_async.sandbox.environment import Environment
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.rate_windows import SlidingWindow
from htx_async.sandbox.records import APIKey
from htx_async.sandbox.request import ParsedRequest
from htx_async.sandbox.state import OTC
from htx_async.sandbox.stream import messages
from htx_async.sandbox.stream.messages import Close, Message

PING_INTERVAL = 20.0
"""Seconds between heartbeats, as HTX's page states."""

MAX_UNANSWERED = 2
"""Heartbeats without a response after which HTX closes. Its page states that for other streams."""

MAX_CONNECTIONS = 10
"""Connections with the same access key, as HTX's page states."""

_LIMIT, _PER = 50, 1.0  # HTX's page: valid requests of a connection; a sliding window
_EMPTY = Message(b"")
_TIMED_OUT = messages.error(messages.TIMED_OUT, {})


@attrs.frozen
class StreamOutput:
    """What to send: an *item*, if any, and the *fault* of the connection to play instead."""

    item: Message | Close | None
    fault: ConnectionFault | None = None


_Handler = Callable[[Mapping[str, Any], Fault], bool]
"""Handle a request; return whether a snapshot follows the response."""


class StreamSession:
    """
    Connection to `/ws/v2`, from the handshake on. Each method returns what to send.

    *handshake*: the request that opened the connection; its host is the one that a client signs.
    *deliver* is called with what to send because the sandbox's data changed; with nothing if only
    `next_tick` may have changed. *sessions*: all open connections, to which it adds itself.

    Call `tick` when `next_tick` is reached, in seconds of the clock's `monotonic()`, and `end` when
    the connection is closed.
    """

    def __init__(
        self,
        environment: Environment,
        handshake: ParsedRequest,
        deliver: Callable[[list[StreamOutput]], object],
        sessions: dict[StreamSession, None],
    ) -> None:
        self._environment = environment
        self._sessions = sessions
        self._handshake = handshake
        self.deliver: Callable[[list[StreamOutput]], object] = deliver
        self.key: APIKey | None = None
        self._channels: dict[str, None] = {}
        factor = environment.limit_factor
        self._is_limited = factor is not None
        self._window = SlidingWindow(max(1, math.floor(_LIMIT * (factor or 1))), _PER)
        self._next_ping = environment.clock.monotonic() + PING_INTERVAL
        self._unanswered: list[int] = []
        self._delayed: list[tuple[float, int, StreamOutput]] = []
        self._numbers = itertools.count()
        self._handlers: Mapping[str, tuple[str, _Handler]] = {
            "req": (messages.AUTH, self._authenticate),
            "sub": (messages.SUBSCRIBE, self._subscribe),
            "unsub": (messages.UNSUBSCRIBE, self._unsubscribe),
        }
        sessions[self] = None

    @property
    def uid(self) -> int | None:
        """Return the UID of the user that authenticated."""
        return self._environment.world.state.owner(self.key).uid if self.key else None

    @property
    def next_tick(self) -> float:
        """Return when `tick` is due next."""
        return min(self._next_ping, self._delayed[0][0] if self._delayed else math.inf)

    def end(self) -> None:
        """Forget the connection: it is closed."""
        self._sessions.pop(self, None)

    def receive(self, data: str | bytes) -> list[StreamOutput]:
        """Handle a message of the client: text or binary data."""
        request = messages.parse_request(data)
        if request is None:
            return [StreamOutput(messages.error(messages.INVALID_JSON, {}))]
        action = request.get("action")
        if action == "pong":
            self._receive_pong(request)
            return []
        # As recorded: the response has neither action nor channel.
        if not isinstance(action, str) or action not in self._handlers:
            return [StreamOutput(messages.error(messages.INVALID_ACTION, {}))]
        return self._handle(action, request)

    def receive_ping(self, data: bytes) -> list[StreamOutput]:
        """Respond to a ping frame."""
        return self._send(messages.PONG, Message(data, "pong"))

    def tick(self) -> list[StreamOutput]:
        """Send what is due: HTX's heartbeat, and messages that a fault delayed."""
        now = self._environment.clock.monotonic()
        outputs: list[StreamOutput] = []
        while self._delayed and self._delayed[0][0] <= now:
            outputs.append(heapq.heappop(self._delayed)[2])
        if self._next_ping <= now:
            self._next_ping = now + PING_INTERVAL
            outputs += self._heartbeat()
        return outputs

    def push(self, uid: int, update: BalanceUpdate) -> None:
        """Deliver *update*, an event of the user *uid*, to the subscriptions of that user."""
        if self.uid == uid:
            self.deliver(self._push(messages.PUSH, self._channels, [update]))

    def interrupt(self, fault: Fault) -> None:
        """Deliver *fault* now, without a message."""
        item = fault.message(_EMPTY)
        connection_fault = fault if isinstance(fault, ConnectionFault) else None
        self.deliver([StreamOutput(item if isinstance(item, Close) else None, connection_fault)])

    def _heartbeat(self) -> list[StreamOutput]:
        if len(self._unanswered) >= MAX_UNANSWERED:
            return [StreamOutput(_TIMED_OUT), StreamOutput(Close(1000, "time out"))]
        ping = messages.ping(self._environment.clock.now())
        outputs = self._send(messages.PING, ping)
        self._unanswered += [ping.json["data"]["ts"]] if outputs else []
        return outputs

    def _receive_pong(self, request: Mapping[str, Any]) -> None:
        if request.get("data") in [{"ts": ts} for ts in self._unanswered]:
            self._unanswered.clear()

    def _handle(self, action: str, request: Mapping[str, Any]) -> list[StreamOutput]:
        event, handle = self._handlers[action]
        fault = self._environment.faults.match(event)
        is_limited, snapshot = False, False
        try:
            snapshot = handle(request, fault)
            response = messages.acknowledgement(action, _acknowledged(request["ch"]))
        except APIError as error:
            is_limited = error.spec is messages.TOO_MANY_REQUESTS
            response = messages.error(error.spec, request)
        self._record(event, fault.message(response), is_limited=is_limited)
        outputs = self._transmit(response, fault)
        return outputs + self._snapshot(request["ch"]) if snapshot else outputs

    def _authenticate(self, request: Mapping[str, Any], fault: Fault) -> bool:
        params = request.get("params")
        if request.get("ch") != "auth":
            raise APIError(messages.INVALID_CHANNEL)
        if not _is_complete(params):
            raise APIError(messages.MISSING_AUTH_PARAM)
        if params["authType"] != "api":
            raise APIError(messages.INVALID_AUTH_TYPE)
        self._admit()
        key = self._find_key(params, self._environment.clock.now() + fault.clock_offset)
        others = (other.key for other in self._sessions if other is not self)
        if self._is_limited and sum(other == key for other in others) >= MAX_CONNECTIONS:
            raise APIError(messages.TOO_MANY_CONNECTIONS)
        if not fault.refuses:
            self.key = key
        return False

    def _find_key(self, params: Mapping[str, str], now: float) -> APIKey:
        keys = self._environment.world.state.keys
        try:
            key = auth.authenticate(self._handshake, params, keys, now, auth.STREAM)
            auth.authorize(key, self._handshake.ip, "read")
        except APIError:  # HTX does not distinguish the causes
            raise APIError(messages.AUTH_FAILED) from None
        return key

    def _subscribe(self, request: Mapping[str, Any], fault: Fault) -> bool:
        channel = self._check_channel(request)
        if not fault.refuses:
            self._channels[channel] = None
        return not fault.refuses

    def _unsubscribe(self, request: Mapping[str, Any], fault: Fault) -> bool:
        channel = self._check_channel(request)
        if not fault.refuses:
            # Without a mode: all of them, as in HTX's example.
            ended = [known for known in self._channels if known.startswith(channel)]
            for known in ended:
                del self._channels[known]
        return False

    def _check_channel(self, request: Mapping[str, Any]) -> str:
        channel = request.get("ch")
        if self.key is None:
            raise APIError(messages.NOT_AUTHENTICATED)
        if messages.mode_of(channel) is None:
            raise APIError(messages.INVALID_CHANNEL)
        assert isinstance(channel, str)
        self._admit()
        return channel

    def _admit(self) -> None:
        at = self._environment.clock.monotonic()
        if self._is_limited and not self._window.admit(at).admitted:
            raise APIError(messages.TOO_MANY_REQUESTS)

    def _record(self, event: str, response: Message | Close, *, is_limited: bool) -> None:
        code = response.code if isinstance(response, Message) else None
        at = self._environment.clock.monotonic()
        path = self._handshake.path
        received = ReceivedRequest(at, "WS", path, event, self.uid, 200, code, is_limited)
        self._environment.record(received)

    def _snapshot(self, channel: str) -> list[StreamOutput]:
        assert self.key is not None
        world = self._environment.world
        accounts = world.state.owner(self.key).accounts
        updates = (
            update
            for account in accounts
            if account.type != OTC
            for update in snapshot_of(account, world.number_of)
        )
        return self._push(messages.SNAPSHOT, [channel], updates)

    def _push(
        self, event: str, channels: Iterable[str], updates: Iterable[BalanceUpdate]
    ) -> list[StreamOutput]:
        outputs: list[StreamOutput] = []
        for update in updates:
            for channel in list(channels):
                for message in messages.pushes(channel, update):
                    if channel in self._channels:  # a fault may end the subscription
                        fault = self._environment.faults.match(event)
                        if fault.refuses:
                            del self._channels[channel]
                        outputs += self._transmit(message, fault)
        return outputs

    def _send(self, event: str, message: Message) -> list[StreamOutput]:
        return self._transmit(message, self._environment.faults.match(event))

    def _transmit(self, message: Message, fault: Fault) -> list[StreamOutput]:
        """Return what *fault* makes of *message*; a pong frame keeps its content."""
        item = message if message.opcode == "pong" else fault.message(message)
        output = StreamOutput(item, fault if isinstance(fault, ConnectionFault) else None)
        if not fault.delay:
            return [output] * fault.copies
        due = self._environment.clock.monotonic() + fault.delay
        heapq.heappush(self._delayed, (due, next(self._numbers), output))
        return []


_AUTH_PARAMS = frozenset(
    {"authType", "accessKey", "signatureMethod", "signatureVersion", "timestamp", "signature"}
)


def _is_complete(params: Any) -> TypeGuard[dict[str, str]]:
    """Return whether *params* are text, and all that HTX's page lists."""
    try:
        return msgspec.convert(params, dict[str, str]).keys() >= _AUTH_PARAMS
    except msgspec.ValidationError:
        return False


def _acknowledged(channel: str) -> str:
    """Return *channel* as HTX acknowledges it: with the default mode, which pushes do not have."""
    return f"{channel}#0" if channel == "accounts.update" else channel
