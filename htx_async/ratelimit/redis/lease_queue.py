"""The queue before tokens that a server lends: many callers, one trade at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial

from htx_async.clock import Clock, running_loop
from htx_async.ratelimit.queue import Heard, TokenQueue, at_once, ignore
from htx_async.ratelimit.redis.fallback import Spare
from htx_async.ratelimit.redis.lease_book import Ledger
from htx_async.ratelimit.redis.protocol import LONGEST, Ask, Away, Lease, Note, Place, Reply, Server
from htx_async.ratelimit.redis.waiters import Callers
from htx_async.ratelimit.token_bucket import Bucket, Grant

SOON = 0.02
"""Seconds that what the server should know waits for a trade to ride with."""
APART = 0.004
"""Seconds between two questions for tokens that were all out: several may be back by then."""
AGAIN = 1.0
"""Seconds between two attempts to reach a server that is away."""
LONG = 0.05
"""Seconds of waiting from which on it is worth listening for the server's bell."""


class LeaseQueue(TokenQueue):
    """
    Grants tokens of a server in the order in which they were asked for.

    It asks for as many as callers wait, in one trade; what it has to tell rides along. While
    callers wait it asks again when the server has said so, or rings. Nothing runs while nobody
    waits and nothing is to be told.
    """

    heard: Heard | None
    refusals: int

    def __init__(self, place: Place, server: Server, clock: Clock, share: float | None) -> None:
        super().__init__(Bucket(place.limit), clock)
        self._loop = running_loop()
        self._server = server
        self._ledger = Ledger(place)
        self._spare = Spare(place.limit, share)
        self._callers = Callers(self._waiting)
        # When to ask for those who wait, and when to trade even if nobody does.
        self._asks_at, self._tells_at = -math.inf, math.inf
        self._probes_at = -math.inf
        # Whether the server believes that somebody waits here.
        self._is_listed = False
        self._trading: asyncio.Task[None] | None = None
        self._bell: asyncio.Task[None] | None = None

    # Callers

    async def acquire(
        self,
        told: Callable[[int, float], object] = ignore,
        until: Callable[[], float] = at_once,
        instead_of: Grant | None = None,
    ) -> Grant:
        """Wait for a token that is good for an attempt until *until*."""
        ticket = None
        if isinstance(instead_of, Lease):
            ticket = self._ledger.out.get(instead_of.token)
            self._return_unused(instead_of)
        waiter = self._callers.add(told, until, ticket)
        self._serve()
        self._tell_callers()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._forget(waiter)
            raise
        finally:
            self._callers.remove(waiter)

    def _forget(self, waiter: asyncio.Future[Grant]) -> None:
        if waiter.cancelled():
            self._waiting.pop(waiter, None)
            if self._is_listed and not self._waiting:
                self._trade_by(self._clock.monotonic() + SOON)
        elif waiter.exception() is None:  # granted, and cancelled before it could run
            self.give_back(waiter.result())
        self._serve()

    def _hand(self, lease: Lease) -> None:
        """Give a token to the first who waits, else back."""
        ticket = self._callers.hand(lease)
        if ticket is None:
            self._return_unused(lease)
        else:
            self._ledger.out[lease.token] = ticket

    def _tell_callers(self) -> None:
        """Tell those who do not know yet that they must wait, once that is known."""
        now = self._clock.monotonic()
        if self._asks_at > now or self._spare.is_open:
            self._callers.tell(partial(self._wait_behind, now))

    def _wait_behind(self, now: float, ahead: int) -> float:
        if self._spare.is_open:
            return self._spare.wait(now, ahead)
        limit = self.bucket.limit
        at = max(self._asks_at, self.bucket.closed_until)
        return max(at - now, 0.0) + ahead // limit.requests * limit.per

    def wait(self) -> float:
        """Return the least seconds that a new caller would wait, as far as the server has said."""
        return self._wait_behind(self._clock.monotonic(), len(self._waiting))

    # Tokens

    def is_good(self, grant: Grant, until: float) -> bool:
        """Tell whether *grant* may still be used, for an attempt that is over at *until*."""
        assert isinstance(grant, Lease)
        return self._clock.monotonic() < grant.void_at and min(until, LONGEST) <= grant.covers

    def give_back(self, grant: Grant) -> None:
        """Return a token that no request has used: to who waits here, or to the server."""
        assert isinstance(grant, Lease)
        self._ledger.out.pop(grant.token, None)
        if self._is_use(grant):
            self._hand(grant)
        else:
            self._return_unused(grant)
        self._serve()

    def _is_use(self, lease: Lease) -> bool:
        """Tell whether who waits could use *lease*."""
        is_closed = self._clock.monotonic() < self.bucket.closed_until
        if not self._waiting or self._spare.is_open or is_closed:
            return False
        return self.is_good(lease, self._callers.until(1))

    def _return_unused(self, lease: Lease) -> None:
        self._ledger.out.pop(lease.token, None)
        if not self._spare.give_back(lease):
            self._note(Note("unused", lease.token))

    def settle(self, grant: Grant, began: float) -> None:
        """Return a token whose answer *began* to arrive then (monotonic seconds)."""
        assert isinstance(grant, Lease)
        self._ledger.out.pop(grant.token, None)
        if not self._spare.settle(grant, began):
            self._note(Note("settled", grant.token, began), within=SOON)
        self._serve()

    def hear(self, grant: Grant, heard: Heard, ends_in: float) -> None:
        """Believe what HTX says of a window that ends in *ends_in* seconds, at most `per`."""
        self.heard = heard
        until = self._clock.monotonic() + ends_in
        if heard.remain is None:
            return
        self._spare.hear(grant, heard.remain, until)
        # As in `Bucket.hear`; the server has granted at least as many as it has told us of.
        known = grant.free + grant.number - heard.remain
        if known > self._ledger.number and not self._spare.is_open:
            self._note(Note("spent", str(known), until), within=SOON)
            self._serve()

    def refused(self, ends_in: float) -> None:
        """Let all wait, everywhere: HTX has refused a request."""
        self.refusals += 1
        until = self._clock.monotonic() + ends_in
        self.bucket.close(until)
        self._spare.close(until)
        self._note(Note("closed", at=until))
        self._serve()

    def _note(self, note: Note, within: float = 0.0) -> None:
        self._ledger.notes.append(note)
        self._trade_by(self._clock.monotonic() + within)

    def _trade_by(self, at: float) -> None:
        self._tells_at = min(self._tells_at, at)

    # Trades

    def _serve(self) -> None:
        """Grant of the share while the server is away, then see to the next trade."""
        if self._loop is not running_loop():
            return  # it is closed, and its tasks are being collected: leases end by themselves
        now = self._clock.monotonic()
        while self._waiting and (lease := self._take_spare(now)):
            self._hand(lease)
            self._trade_by(self._probes_at)
        if self._trading is None and self._trades_at() <= now:
            self._begin()
        self._wake_at(self._trades_at() if self._trading is None else self._spare_at())
        self._listen(now)

    def _take_spare(self, now: float) -> Lease | None:
        return self._spare.take(now, self._ledger.owner, self._callers.until(1))

    def _trades_at(self) -> float:
        at = self._tells_at
        if self._waiting:
            at = min(at, self._asks_at)
        return min(max(at, self._probes_at), self._spare_at())

    def _spare_at(self) -> float:
        return self._spare.next_at() if self._waiting else math.inf

    def _begin(self) -> None:
        self._tells_at = math.inf
        self._trading = asyncio.get_running_loop().create_task(
            self._trade(), name=f"htx_async budget {self._ledger.endpoint}"
        )

    async def _trade(self) -> None:
        # Only now: who came in the same breath is asked for, too.
        wanted = 0 if self._spare.is_open else len(self._waiting)
        until = self._callers.until(self.bucket.limit.requests)
        ask = self._ledger.ask(self._clock.monotonic(), wanted, until)
        reply: Reply | Away = Away("the program ended")
        try:
            reply = await self._server.trade(ask)
        finally:
            self._trading = None
            now = self._clock.monotonic()
            if isinstance(reply, Away):
                self._go_without(ask, reply, now)
            else:
                self._take_in(ask, reply, now)
            self._serve()
            self._tell_callers()

    def _take_in(self, ask: Ask, reply: Reply, now: float) -> None:
        self._probes_at = -math.inf
        self._is_listed = reply.due is not None
        self.bucket.free = reply.free
        self.bucket.closed_until = now + reply.closed if reply.closed else -math.inf
        self._asks_at = -math.inf if reply.due is None else now + max(reply.due, APART)
        if self._spare.is_open:
            for note in self._spare.shut(now):
                self._note(note)
        for lease in self._ledger.took(ask, reply):
            self._hand(lease)

    def _go_without(self, ask: Ask, away: Away, now: float) -> None:
        """Fail all who wait, or go on with the share."""
        self._ledger.failed(ask, now)
        self._asks_at, self._is_listed = -math.inf, False
        if self._ledger.notes:
            self._trade_by(now + AGAIN)
        if self._spare.can_open:
            self._probes_at = now + AGAIN
            if not self._spare.is_open:
                self._spare.open(now)
            return
        self._callers.fail(away)

    # The bell, and the end

    def _listen(self, now: float) -> None:
        """Listen for the server's bell while somebody waits for long."""
        is_long = self._waiting and self._asks_at > now + LONG
        if is_long and self._bell is None and not self._spare.is_open:
            self._bell = asyncio.get_running_loop().create_task(
                self._hear_bell(), name="htx_async budget bell"
            )

    async def _hear_bell(self) -> None:
        rang = False
        try:
            rang = await self._server.bell(self._ledger.bell)
        finally:
            self._bell = None
        if rang:
            self._asks_at = -math.inf
            self._serve()

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits, and nothing is out."""
        return not (self._waiting or self._ledger.out)

    async def settled(self) -> None:
        """Return once the server was told what it should know, or could not be told."""
        if self._trading is not None:
            await asyncio.wait([self._trading])
        if self._trading is None and self._tells_at < math.inf:
            self._begin()
        if self._trading is not None:
            await asyncio.wait([self._trading])
        if self.is_idle:
            self._rest()
        if not self._waiting and self._bell is not None:
            self._bell.cancel()
            await asyncio.wait([self._bell])

    def _rest(self) -> None:
        """Leave nothing behind; what the server could not be told, it learns as leases end."""
        self._ledger.notes.clear()
        self._tells_at = math.inf
        self._wake_at(math.inf)
