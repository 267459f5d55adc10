"""
Notices what HTX says and this version does not know, so that its users hear of it first.

Nothing breaks by it: unknown fields are passed over, unknown words kept. Each thing is told once:
as an event by each client, in the log once in a process.
"""

from __future__ import annotations

import logging
import re
import threading

import msgspec

from htx_async.clock import Clock
from htx_async.events import Event, Listener
from htx_async.models.shapes import unknown
from htx_async.redaction import auth_values, redact
from htx_async.request import Handler, Request, Response

PAUSE = 1.0
"""Seconds for which no other answer of an endpoint is looked at: it takes as long as signing."""
AT_MOST = 30
"""Things that are told at all: a server may make up names for ever."""

_SHOWN = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_UNSHOWN = "(a name that is not shown)"

_log = logging.getLogger("htx_async")
_logged: set[tuple[str, str]] = set()
_lock = threading.Lock()


class Noticing(msgspec.Struct, frozen=True):
    """The layer that looks at answers, and lets them pass."""

    send: Handler
    clock: Clock
    listener: Listener | None = None
    _seen: set[tuple[str, str]] = msgspec.field(default_factory=set[tuple[str, str]])
    _looked: dict[str, float] = msgspec.field(default_factory=dict[str, float])

    async def __call__(self, request: Request) -> Response:
        """Return the answer as it is."""
        response = await self.send(request)
        if self._is_time(request.endpoint.name):
            self._look(request, response)
        return response

    def _is_time(self, endpoint: str) -> bool:
        now = self.clock.monotonic()
        if now < self._looked.get(endpoint, now - PAUSE) + PAUSE:
            return False
        self._looked[endpoint] = now
        return True

    def _look(self, request: Request, response: Response) -> None:
        found = unknown(response.body, request.endpoint.shape)
        for where, name, word in found:
            secrets = auth_values(response.sent_query)
            what = ".".join(filter(None, (where, _shown(name, secrets))))
            if word is not None:
                what = f"{what}={_shown(word, secrets)}"
            self._tell(request, what)

    def _tell(self, request: Request, what: str) -> None:
        key = (request.endpoint.name, what)
        if key in self._seen or len(self._seen) >= AT_MOST:
            return
        self._seen.add(key)
        if _is_new(key):
            text = "HTX says %s at %s: this version of htx_async does not know it"
            _log.warning(text, what, request.endpoint.name)
        if self.listener is not None:
            name, number = key[0], request.id
            at = self.clock.now()
            self.listener(
                Event(kind="schema_drift", endpoint=name, request_id=number, at=at, unknown=what)
            )


def _is_new(key: tuple[str, str]) -> bool:
    """Tell whether this process has not logged it yet."""
    with _lock:
        if key in _logged or len(_logged) >= AT_MOST:
            return False
        _logged.add(key)
        return True


def _shown(name: str, secrets: tuple[str, ...]) -> str:
    """Return a name if it is short and plain; it may echo anything, the query for instance."""
    return name if _SHOWN.fullmatch(name) and redact(name, secrets) == name else _UNSHOWN
