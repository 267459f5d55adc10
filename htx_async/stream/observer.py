"""What may observe the connection of a stream: a recorder, or telemetry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

ObservedKind = Literal["opened", "sent", "received", "lost", "audited", "audit_failed", "event"]
"""
A connection was opened; a message was sent, or received; the connection was lost, or could not be
opened; a balance was read by REST, or could not be; the stream has emitted an event.
"""

Observer: TypeAlias = Callable[[ObservedKind, Any], object]
"""
Called with what happens, and its data: the message (`None`: the authentication, which is a secret),
the error, the pair of a balance and the monotonic time of its request, or the `StreamEvent`.

It is called in the tasks of the connection: it must be fast, and must not raise.
"""
