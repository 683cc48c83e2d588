"""What writers may do next: begin, write and read the flag, commit, abort, and be heard.

A commit comes in two steps, as in the server: the transaction leaves the ProcArray, from when on
its rows are seen; then listeners are signalled. Who was not listening at the commit hears nothing.
"""

from collections.abc import Iterator

from tests.model.doorbell.protocol import Check, Protocol
from tests.model.doorbell.world import (
    Affair,
    Half,
    Row,
    Scene,
    Stage,
    World,
    Writer,
    committed,
    renewed,
)

Step = tuple[str, World]


def steps(world: World, scene: Scene, protocol: Protocol) -> Iterator[Step]:
    """Every next step of every writer, told in a sentence, with the world after it."""
    for place, affair in enumerate(world.affairs):
        for index, writer in enumerate(affair.writers):
            move = _Move(world, protocol, place, affair, index, writer)
            match writer.stage:
                case Stage.NOT_BEGUN:
                    yield from move.begin()
                case Stage.CHECKED:
                    yield move.write_what_was_checked()
                case Stage.OPEN:
                    yield from move.go_on(scene)
                case Stage.COMMITTED if writer.rings:
                    yield move.be_heard()


class _Move:
    """The possible next steps of one writer."""

    def __init__(
        self,
        world: World,
        protocol: Protocol,
        place: int,
        affair: Affair,
        index: int,
        writer: Writer,
    ) -> None:
        self._world = world
        self._protocol = protocol
        self._place = place
        self._affair = affair
        self._index = index
        self._writer = writer

    def begin(self) -> Iterator[Step]:
        script = self._writer.script
        if script.once_dispatched and self._affair.addresses[script.rows[0].address].idle:
            return
        if self._protocol.check is Check.BEFORE and script.rows:
            told, checked = self._checked(self._writer)
            yield told, self._with(checked._replace(stage=Stage.CHECKED, written=0))
        else:
            yield self._tell(f"begins, {self._purpose()}: {self._xid()}"), self._begun(self._writer)

    def write_what_was_checked(self) -> Step:
        writer = self._writer._replace(written=1)
        return self._tell(f"writes {self._purpose()}: {self._xid()}"), self._begun(writer)

    def go_on(self, scene: Scene) -> Iterator[Step]:
        writer = self._writer
        if writer.written < len(writer.script.rows):
            told, checked = self._checked(writer)
            yield told, self._with(checked)
        else:
            yield self._commit()
            if writer.rings and self._protocol.delivers_early:
                yield self.be_heard()
        if scene.aborts:
            yield self._tell("aborts"), self._ended(writer.afresh())
        if scene.savepoints and writer.written:
            back = writer._replace(written=0, rings=())
            yield self._tell("rolls back to a savepoint; its ring is undone"), self._with(back)

    def be_heard(self) -> Step:
        named = self._writer.rings
        affair = self._affair.with_writer(self._index, self._writer._replace(rings=()))
        addresses = tuple(
            one._replace(rung=one.rung or number in named)
            for number, one in enumerate(affair.addresses)
        )
        heard = ", ".join(self._affair.addresses[number].name for number in named)
        affair = renewed(affair._replace(addresses=addresses))
        return (
            f"The ring of {self._writer.name} arrives and names {heard}.",
            self._world.with_affair(self._place, affair),
        )

    def _checked(self, writer: Writer) -> tuple[str, Writer]:
        row = writer.script.rows[writer.written]
        what = f"writes {self._row(row)}, and its trigger reads the flag"
        if self._protocol.check is Check.BEFORE and not writer.written:
            what = "reads the flag, before it has an xid"
        after = writer._replace(written=writer.written + 1)
        if self._world.hushed:
            return self._tell(f'{what}: "hush", it stays silent'), after
        if self._spared(row, writer):
            return self._tell(f"{what}, but does not ring"), after
        rings = tuple(sorted({*writer.rings, row.address}))
        return self._tell(f'{what}: "ring", it notifies'), after._replace(rings=rings, rang=True)

    def _spared(self, row: Row, writer: Writer) -> bool:
        """Whether one of the savings that somebody might think of keeps it from ringing."""
        if self._protocol.rings_once and writer.rang:
            return True
        return (
            self._protocol.spares_idle
            and row.half is Half.AGENT
            and not committed(self._affair, Half.HANDOFF, row.address)
        )

    def _commit(self) -> Step:
        writer = self._writer
        if not writer.script.rows:
            return self._tell("ends"), self._ended(writer.afresh())
        heard = writer.rings if self._world.leader.listening else ()
        done = writer._replace(stage=Stage.COMMITTED, written=0, rang=False, rings=heard)
        told = "commits; its ring is on the way" if heard else "commits, and nothing rings"
        return self._tell(told), self._ended(done)

    def _begun(self, writer: Writer) -> World:
        xid = self._world.transactions.next_xid
        world = self._with(writer._replace(stage=Stage.OPEN, xid=xid))
        return world._replace(transactions=world.transactions.begun())

    def _ended(self, writer: Writer) -> World:
        world = self._with(writer)
        return world._replace(transactions=world.transactions.ended(self._writer.xid))

    def _with(self, writer: Writer) -> World:
        return self._world.with_affair(self._place, self._affair.with_writer(self._index, writer))

    def _tell(self, what: str) -> str:
        return f"{self._writer.name.capitalize()} {what}."

    def _xid(self) -> str:
        return f"xid {self._world.transactions.next_xid}"

    def _purpose(self) -> str:
        script = self._writer.script
        if script.locks is not None:
            return (
                f"a heartbeat that locks the agent at {self._affair.addresses[script.locks].name}"
            )
        return " and ".join(map(self._row, script.rows)) or "something elsewhere"

    def _row(self, row: Row) -> str:
        return f"{row.half.value} at {self._affair.addresses[row.address].name}"
