"""What may go wrong around the protocol: the leader dies, the server dies."""

from collections.abc import Iterator

from tests.model.doorbell.protocol import Deed, Protocol
from tests.model.doorbell.world import Affair, Leader, Mode, Scene, Stage, World, renewed
from tests.model.doorbell.writers import Step


def steps(world: World, scene: Scene, protocol: Protocol) -> Iterator[Step]:
    """Every mishap that the scene allows, told in a sentence, with the world after it."""
    if scene.leaders_die and world.leader.mode is not Mode.GONE:
        yield "The leader dies.", _dead(world, protocol)
    if scene.server_dies:
        yield "The server dies and comes back; all that ran is undone.", _crashed(world, protocol)
    if world.stray_hush:
        told = 'What a dead leader had sent arrives: the flag is set to "hush".'
        yield told, world._replace(stray_hush=False, hushed=True)


def _dead(world: World, protocol: Protocol) -> World:
    """End the leader: its memory, its session, and what was on the way to it are lost."""
    sent = world.leader.todo[:1] == (Deed.HUSH,) and not protocol.one_session
    affairs = tuple(_unheard(affair) for affair in world.affairs)
    return world._replace(affairs=affairs, leader=Leader(), stray_hush=world.stray_hush or sent)


def _unheard(affair: Affair) -> Affair:
    return renewed(
        affair._replace(
            addresses=tuple(one._replace(rung=False, named=False) for one in affair.addresses),
            writers=tuple(
                one._replace(rings=()) if one.stage is Stage.COMMITTED else one
                for one in affair.writers
            ),
        )
    )


def _crashed(world: World, protocol: Protocol) -> World:
    """End everything; the flag, being unlogged, says "ring" afterwards."""
    after = _dead(world, protocol)
    return after._replace(
        affairs=tuple(_undone(affair) for affair in after.affairs),
        transactions=after.transactions.crashed(),
        hushed=False,
        stray_hush=False,
    )


def _undone(affair: Affair) -> Affair:
    return affair._replace(
        writers=tuple(
            one if one.stage is Stage.COMMITTED else one.afresh() for one in affair.writers
        )
    )
