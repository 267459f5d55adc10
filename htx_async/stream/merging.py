"""
Joins pushes and REST reads of one currency, without going back in time.

A push has the absolute amounts and a serial number that orders the pushes of one connection. A REST
read has the amounts of some moment, and HTX does not document that its `seq-num` is the same
counter. So a number decides only after it has proved itself: a push and a read with equal numbers
and equal amounts. Without numbers, two reads that agree decide, if no push came in between.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Literal, NamedTuple

import attrs

from htx_async.stream.messages import Amounts

LAG = 3.0
"""Seconds that a REST read may be behind. HTX does not document it; [inf] from other exchanges."""
DELAY = 3.0
"""Seconds that a push may take to arrive. Round-trip times of the connection bound it."""

_WITHHELD = 32
"""Pushes that are kept until REST shows how old they are; the latest ones."""
_CERTAIN = 3
"""Currencies with equal numbers that are not chance."""
_AGREEMENTS = 2
"""REST reads that must agree before a value with a larger number is replaced."""

Verdict = Literal["proven", "replaced", "pending", "behind"]
"""
What a REST read did: it proved the amounts that are shown, it replaced them, or it decided nothing.
`behind`: its number is smaller than that of a push, for longer than REST may lag, and it grows: the
counter has begun again.
"""


class Pushed(NamedTuple):
    """A push of this connection, and when it arrived."""

    amounts: Amounts
    seq: int | None
    at: float


class Read(NamedTuple):
    """
    What REST returned for one currency.

    Attributes:
        amounts: The amounts; zero if REST does not list the currency.
        seq: Largest number of its rows; `None` if there is none.
        is_torn: Whether its rows have different numbers: they may be of different moments.
        sent_at: When the request was made.
        received_at: When the response arrived.
    """

    amounts: Amounts
    seq: int | None
    is_torn: bool
    sent_at: float
    received_at: float

    def repeated(self, sent_at: float, received_at: float) -> Read:
        """Return what a later read returned with the same rows."""
        return Read(self.amounts, self.seq, self.is_torn, sent_at, received_at)


class Numbers:
    """
    Evidence of one connection about whether the numbers of REST and pushes are comparable.

    Attributes:
        since: When the connection began. Earlier numbers may be of a counter that began again.
        is_contradicted: Whether they are certainly not.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self.is_contradicted: bool = False
        self._witnesses: dict[Hashable, set[int]] = {}
        self._mismatches: set[Hashable] = set()

    def are_comparable(self, key: Hashable) -> bool:
        """Return whether they are: by this currency, or by most of several others."""
        if self.is_contradicted:
            return False
        return key in self._witnesses or len(self._witnesses) > 2 * len(self._mismatches) + 1

    def are_certain(self, key: Hashable) -> bool:
        """Return whether this currency shows it, and not by chance: so does another number."""
        numbers = self._witnesses.get(key, ())
        has_others = len(self._witnesses) >= _CERTAIN and not self._mismatches
        return bool(numbers) and not self.is_contradicted and (len(numbers) > 1 or has_others)

    def compare(self, key: Hashable, pushed: Pushed, read: Read) -> None:
        """Record what the latest push and a REST read of one currency show."""
        if read.is_torn or not read.seq or not pushed.seq:
            return
        is_equal = read.amounts == pushed.amounts
        if read.seq == pushed.seq:
            if is_equal:
                numbers = self._witnesses.setdefault(key, set())
                if len(numbers) < _CERTAIN:  # more would prove no more
                    numbers.add(read.seq)
                self._mismatches.discard(key)
            else:
                self.is_contradicted = True
        elif is_equal and key not in self._witnesses:
            self._mismatches.add(key)
            # REST cannot be behind any more, and it did not miss a push either.
            self.is_contradicted |= pushed.at < read.sent_at - LAG


@attrs.define
class CurrencyState:
    """
    The amounts of one currency that are shown, and what they are based on.

    Attributes:
        key: Identifies the currency and its account.
        amounts: What is shown.
        seq: Its number: that of a push if *is_pushed*, else REST's.
        is_pushed: Whether a push set it.
        connection: The connection on which it was set, or confirmed.
        changed_at: When it arrived.
        proven_at: It was right at some moment since then.
        settled_at: While a value of REST is shown: a push that arrives from then on is newer.
    """

    key: Hashable
    amounts: Amounts
    seq: int | None
    connection: int
    changed_at: float = -math.inf
    proven_at: float = -math.inf
    settled_at: float = -math.inf
    is_pushed: bool = False
    _pushed: Pushed | None = None
    _pushed_on: int = -1
    _withheld: list[Pushed] = attrs.field(factory=list[Pushed])
    _candidate: Read | None = None
    _agreements: int = 0
    _smaller_seq: int | None = None

    def push(self, pushed: Pushed, connection: int, numbers: Numbers) -> bool:
        """
        Show the amounts of a push, unless it is late, or may be older than what is shown.

        Return whether REST must be read to decide.
        """
        latest = self._latest(connection)
        if latest is not None and _is_late(pushed, latest):
            return False
        if latest is None:
            self._withheld.clear()
        self._pushed, self._pushed_on = pushed, connection
        if self._is_newer(pushed, connection, numbers):
            self._show_push(connection)
            return False
        self._withheld = [*self._withheld[1 - _WITHHELD :], pushed]
        return True

    def compare(self, read: Read, connection: int, numbers: Numbers) -> None:
        """Record what the numbers show; before any of them decides."""
        latest = self._latest(connection)
        if latest is not None:
            numbers.compare(self.key, latest, read)

    def read(self, read: Read, connection: int, numbers: Numbers) -> Verdict:
        """Compare the amounts with those of REST, and replace them if they are older."""
        latest = self._latest(connection)
        if read.amounts == self.amounts:
            return self._confirm(read, connection, numbers)
        by_number = self._decide_by_number(read, connection, numbers)
        if by_number is not None:
            return by_number
        if self.connection != connection and self._agrees(read, numbers):
            self._show_push(connection)
            self.proven_at = max(self.proven_at, read.sent_at)
            return "replaced"
        return self._decide_by_agreement(read, connection, latest, numbers)

    def _latest(self, connection: int) -> Pushed | None:
        """Return the latest push of this connection."""
        return self._pushed if self._pushed_on == connection else None

    def _is_newer(self, pushed: Pushed, connection: int, numbers: Numbers) -> bool:
        """Return whether the latest push is certainly not older than what is shown."""
        if pushed.seq is not None and self.seq is not None:
            is_next = pushed.seq > self.seq
            is_same = pushed.seq == self.seq and pushed.amounts == self.amounts
            if self.is_pushed and self.connection != connection:
                return is_next or is_same
            if not self.is_pushed and numbers.are_comparable(self.key):
                return is_next or is_same
        if self.connection == connection:
            return self.is_pushed or pushed.at >= self.settled_at
        return pushed.at - DELAY >= self.changed_at

    def _show_push(self, connection: int) -> None:
        assert self._pushed is not None
        self.amounts, self.seq, at = self._pushed
        self.is_pushed, self.connection, self.changed_at = True, connection, at
        self.proven_at = max(self.proven_at, at - DELAY)
        self._candidate, self._agreements, self._smaller_seq = None, 0, None
        self._withheld.clear()

    def show_read(
        self, read: Read, connection: int, settled_at: float, numbers: Numbers
    ) -> Verdict:
        """Show what REST returned; a push that arrives from *settled_at* on is newer."""
        self.amounts, self.seq = read.amounts, read.seq
        self.is_pushed, self.connection, self.changed_at = False, connection, read.received_at
        self.proven_at, self.settled_at = max(self.proven_at, read.sent_at), settled_at
        self._candidate, self._agreements = None, 0
        if self._was_withheld(read, numbers):
            self._show_push(connection)
        return "replaced"

    def _confirm(self, read: Read, connection: int, numbers: Numbers) -> Verdict:
        """Note that REST has the same amounts."""
        self.proven_at = max(self.proven_at, read.sent_at)
        self._candidate = None
        if self.connection != connection:
            if read.sent_at - LAG < self.changed_at:
                return "pending"  # it may be an older state with the same amounts
            self.connection, self._agreements = connection, 0
            self.is_pushed, self.seq = False, read.seq
            self.settled_at = read.received_at + DELAY
        elif not self.is_pushed and read.seq is not None:
            self.seq = max(read.seq, self.seq or 0)
        if not self.is_pushed and self._was_withheld(read, numbers):
            self._show_push(connection)
        return "proven"

    def _was_withheld(self, read: Read, numbers: Numbers) -> bool:
        """Return whether REST has what a push had that was not shown: later pushes are newer."""
        if not self._withheld:
            return False
        needs_number = numbers.are_comparable(self.key)
        return any(
            pushed.amounts == read.amounts and (pushed.seq == read.seq or not needs_number)
            for pushed in self._withheld
        )

    def _decide_by_number(self, read: Read, connection: int, numbers: Numbers) -> Verdict | None:
        """Return the verdict of the numbers; `None`: they do not decide."""
        if read.seq is None or self.seq is None or read.is_torn:
            return None
        is_current = self.is_pushed and self.connection == connection
        if self.is_pushed and not numbers.are_comparable(self.key):
            return None
        is_certain = numbers.are_certain(self.key) and read.sent_at - LAG >= numbers.since
        if self.is_pushed and read.seq > self.seq and not is_certain:
            return None
        if read.seq > self.seq:
            return self.show_read(read, connection, read.received_at + DELAY, numbers)
        if read.seq == self.seq or not is_current:
            return None
        if self.changed_at < read.sent_at - LAG:
            earlier, self._smaller_seq = self._smaller_seq, read.seq
            return "behind" if earlier is not None and read.seq > earlier else "pending"
        # The push is newer than what REST returned, so it was right after that moment.
        self.proven_at = max(self.proven_at, read.sent_at)
        return "proven"

    def _agrees(self, read: Read, numbers: Numbers) -> bool:
        """Return whether REST has confirmed pushes whose number is too small, often enough."""
        if read.sent_at - LAG < self.changed_at or not self._was_withheld(read, numbers):
            return False
        self._agreements += 1
        return self._agreements >= _AGREEMENTS

    def _decide_by_agreement(
        self, read: Read, connection: int, latest: Pushed | None, numbers: Numbers
    ) -> Verdict:
        """Show what two reads agree on, if no push came since the first could be behind."""
        touched_at = max(self.changed_at, latest.at if latest is not None else -math.inf)
        first = self._candidate
        if (
            first is not None
            and first.amounts == read.amounts
            and first.sent_at - LAG >= touched_at
        ):
            if read.received_at < first.received_at + DELAY:
                return "pending"
            return self.show_read(read, connection, first.received_at + DELAY, numbers)
        self._candidate = read if read.sent_at - LAG >= touched_at else None
        return "pending"


def _is_late(pushed: Pushed, latest: Pushed) -> bool:
    """Return whether a push is a duplicate of the latest one, or comes after a newer one."""
    if pushed.seq is None or latest.seq is None or pushed.seq > latest.seq:
        return False
    return pushed.seq < latest.seq or pushed.amounts == latest.amounts
