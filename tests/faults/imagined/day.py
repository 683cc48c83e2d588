"""A random run that keeps every promise, with all that a bad day may legally bring."""

import random
from collections.abc import Callable, Mapping
from itertools import islice
from uuid import UUID

from tests.faults.imagined.queue import Handoff
from tests.faults.imagined.run import EVERYBODY, Run

WORKERS = ("ada", "bob", "cyd")
PLAIN = "dot"
REVIEWER = "reviewer"
_ADDRESSES = (*WORKERS, PLAIN, REVIEWER, EVERYBODY, EVERYBODY, EVERYBODY)
_SENDERS = ("eve", "fay")
_RECENT = 40
"""Old handoffs are left alone, so that a long day is no slower than a short one."""


def imagine(seed: int, deeds: int) -> Run:
    """Play so many random deeds."""
    day = _Day(random.Random(seed))
    for _ in range(deeds):
        day.go_on()
    return day.end()


class _Day:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._run = Run(chance)
        self._late: list[tuple[str, UUID, int]] = []
        self._sent = 0
        self._deeds: Mapping[Callable[[], None], int] = {
            self._send: 14,
            self._send_slowly: 3,
            self._be_refused: 2,
            self._dispatch: 30,
            self._dispatch_slowly: 3,
            self._accept: 25,
            self._settle: 36,
            self._take_back: 4,
            self._say_late: 3,
            self._register: 2,
            self._cancel: 3,
            self._cancel_held: 3,
            self._cancel_slowly: 2,
            self._lock: 1,
            self._ripen: 4,
            self._expire: 1,
            self._reopen: 2,
            self._delete: 1,
            self._tell: 12,
            self._pause: 5,
        }
        self._run.register("ada", REVIEWER)
        for name in WORKERS[1:]:
            self._run.register(name)
        self._run.register(PLAIN, plain=True)

    def go_on(self) -> None:
        """Do something; it may be that there is nothing to do it to."""
        [deed] = self._chance.choices(list(self._deeds), list(self._deeds.values()))
        self._run.books.wait(self._chance.uniform(0, 50))
        deed()

    def end(self) -> Run:
        """Give everybody something, and log the rest."""
        for address in _ADDRESSES:
            self._run.dispatch(address)
        self._run.books.tell_all()
        return self._run

    def _send(self) -> None:
        self._sent += 1
        self._run.send(
            self._chance.choice(_SENDERS),
            self._chance.choice(_ADDRESSES),
            priority=self._chance.choice((0, 0, 0, -3, 5)),
            key=self._chance.choice((None, f"key {self._sent}")),
            delayed=self._chance.random() < 0.1,
            steps=self._chance.choice((None, 1, 2, 3)),
            answered=self._chance.random() < 0.9,
        )

    def _send_slowly(self) -> None:
        with self._run.slow_send("eve", self._chance.choice(_ADDRESSES)):
            for _ in range(self._chance.randint(0, 5)):
                self._chance.choice((self._dispatch, self._send, self._tell))()

    def _be_refused(self) -> None:
        self._sent += 1
        self._run.be_refused("eve", f"key {self._sent}", self._chance.choice(("ZH006", "23514")))

    def _dispatch(self) -> None:
        self._run.dispatch(self._chance.choice(_ADDRESSES))

    def _dispatch_slowly(self) -> None:
        """Let an old leader's last pass and a new leader's first ones overlap."""
        with self._run.slow_dispatch(self._chance.choice(_ADDRESSES)):
            for _ in range(self._chance.randint(1, 3)):
                self._dispatch()

    def _accept(self) -> None:
        if held := self._held():
            self._run.accept(held.row.id)

    def _settle(self) -> None:
        if held := self._held():
            self._run.settle(
                held.row.id,
                self._chance.choice(("succeeded", "succeeded", "succeeded", "failed")),
                told=self._chance.choice(("applied", "applied", "applied", "repeated", None)),
                retry_in_ms=self._chance.choice((None, 0, 50)),
            )

    def _take_back(self) -> None:
        if held := self._held():
            row = held.row
            self._late.append((str(row.assigned_agent), row.id, row.attempt))
            self._run.take_back(row.id, self._chance.choice(("lapsed", "timed_out")))

    def _say_late(self) -> None:
        if self._late:
            name, handoff_id, attempt = self._late.pop(self._chance.randrange(len(self._late)))
            if handoff_id in self._run.queue.handoffs:
                self._run.say_late(name, handoff_id, attempt)

    def _register(self) -> None:
        self._run.register(self._chance.choice(WORKERS[1:]))

    def _cancel(self) -> None:
        if some := self._one("pending", "in_progress", "completed"):
            self._run.cancel(some.row.id, answered=self._chance.random() < 0.8)

    def _cancel_held(self) -> None:
        if held := self._held():
            self._run.cancel(held.row.id)

    def _cancel_slowly(self) -> None:
        if some := self._one("pending"):
            with self._run.slow_cancel(some.row.id):
                self._run.dispatch(some.row.to_agent)

    def _lock(self) -> None:
        """Let a stranger lock somebody, or a late caller for a moment, which nothing tells."""
        if some := self._one("pending"):
            with self._run.stranger_locks(some.row.id, declared=some.row.attempt == 0):
                self._run.dispatch(some.row.to_agent)

    def _ripen(self) -> None:
        self._run.ripen(self._chance.choice(_ADDRESSES))

    def _expire(self) -> None:
        if some := self._one("pending", "in_progress"):
            self._run.expire(some.row.id)

    def _reopen(self) -> None:
        if some := self._one("completed"):
            self._run.reopen(some.row.id)

    def _delete(self) -> None:
        if some := self._one("pending", "in_progress", "completed"):
            self._run.delete(some.row.id)

    def _tell(self) -> None:
        kept, new_reign = self._chance.choice(
            ((True, False), (True, False), (True, True), (False, False), (False, True))
        )
        self._run.books.tell(kept=kept, new_reign=new_reign)

    def _pause(self) -> None:
        self._run.books.wait(self._chance.choice((10, 100, 3000)))

    def _one(self, *statuses: str) -> Handoff | None:
        recent = islice(reversed(self._run.queue.handoffs.values()), _RECENT)
        some = [one for one in recent if one.row.status in statuses and one.visible]
        return self._chance.choice(some) if some else None

    def _held(self) -> Handoff | None:
        held = [
            worker.holds for worker in self._run.queue.workers.values() if worker.holds is not None
        ]
        return self._run.queue.handoffs[self._chance.choice(held)] if held else None
