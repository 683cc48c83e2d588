"""What may go wrong around the protocol: the leader dies, the server dies."""

from collections.abc import Iterator

from tests.model.doorbell.leader import dead
from tests.model.doorbell.protocol import Protocol
from tests.model.doorbell.world import Affair, Mode, Scene, Stage, World
from tests.model.doorbell.writers import Step


def steps(world: World, scene: Scene, protocol: Protocol) -> Iterator[Step]:
    """Every mishap that the scene allows, told in a sentence, with the world after it."""
    if scene.leaders_die and world.leader.mode is not Mode.GONE:
        yield "The leader dies.", dead(world, protocol)
    if scene.server_dies:
        yield "The server dies and comes back; all that ran is undone.", _crashed(world, protocol)
    if world.stray_hush:
        told = 'What a dead leader had sent arrives: the flag is set to "hush".'
        yield told, world._replace(stray_hush=False, hushed=True)


def _crashed(world: World, protocol: Protocol) -> World:
    """End everything; the flag, being unlogged, says "ring" afterwards."""
    after = dead(world, protocol)
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
