"""Runs `htx-async stream record`: writes what happens to a stream to a file, redacted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, TextIO

import attrs

from htx_async import Clock, HTXClient, HTXError
from htx_async.cli.number_format import count_of
from htx_async.cli.recording.redaction import Recording
from htx_async.stream.live import observe
from htx_async.stream.observer import ObservedKind

AUDIT_INTERVAL = 10.0
"""Seconds between reads of REST."""


@attrs.define
class Recorder:
    """
    Records one stream.

    Attributes:
        file: Receives the lines, each at once.
        counts: Number of lines of each kind.
    """

    file: TextIO
    counts: Counter[str] = attrs.field(factory=Counter[str])
    _lines: asyncio.Queue[str] = attrs.field(factory=asyncio.Queue[str])
    _refusal: HTXError | None = None

    async def run(self, htx: HTXClient, account: str | None, seconds: float | None) -> None:
        """
        Record the stream of an account, `None` of all, for *seconds*, or until cancelled.

        Raises:
            HTXError: The stream could not be opened, or HTX refused the key. What happened until
                then is recorded.
        """
        clock = Clock()
        live = htx.accounts.stream(account, audit_interval=AUDIT_INTERVAL)
        recording = Recording(clock.monotonic(), clock.now())

        def record(kind: ObservedKind, data: Any) -> None:
            if line := recording.line(kind, data, clock.monotonic()):
                self.counts[kind] += 1
                self._lines.put_nowait(line)
            if kind == "event" and data.kind == "refused":
                self._refusal = data.error

        observe(live, record)
        self._lines.put_nowait(recording.start(AUDIT_INTERVAL))
        limit = asyncio.timeout(seconds)
        try:
            async with limit, live:
                self._lines.put_nowait(recording.accounts(live.accounts, clock.monotonic()))
                while self._refusal is None:
                    self._write(await self._lines.get())
        except TimeoutError:
            if not limit.expired():  # a `DeadlineExceededError`
                raise
        finally:
            while not self._lines.empty():
                self._write(self._lines.get_nowait())
        if self._refusal is not None:
            raise self._refusal

    def summary(self) -> str:
        """Return what was recorded, in one sentence."""
        counts = self.counts
        return (
            f"recorded {count_of(counts['received'], 'message')}, "
            f"{count_of(counts['audited'], 'audit')} and {count_of(counts['opened'], 'connection')}"
        )

    def _write(self, line: str) -> None:
        self.file.write(f"{line}\n")
        self.file.flush()
