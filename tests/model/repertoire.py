"""All that the driver can do, and how often it does it."""

from collections.abc import Callable

from tests.model import (
    agent_deeds,
    life_deeds,
    operator_deeds,
    pass_deeds,
    sending_deeds,
    settling_deeds,
)
from tests.model.deed import Deed
from tests.model.draw import Draw

Operation = Callable[[Draw], Deed | None]

WEIGHTS: dict[Operation, float] = {
    agent_deeds.heartbeat: 8,
    agent_deeds.heartbeats: 3,
    agent_deeds.say: 6,
    agent_deeds.say_in_plain_sql: 4,
    agent_deeds.beat_in_plain_sql: 2,
    life_deeds.register: 4,
    life_deeds.register_badly: 0.5,
    life_deeds.leave: 1,
    life_deeds.delete_agent: 0.5,
    life_deeds.fall_silent: 3,
    sending_deeds.hand_off: 8,
    sending_deeds.hand_off_and_wait: 1,
    sending_deeds.hand_off_many: 1,
    sending_deeds.insert: 4,
    sending_deeds.hand_off_badly: 0.5,
    settling_deeds.accept: 9,
    settling_deeds.report_progress: 3,
    settling_deeds.held: 1,
    settling_deeds.complete: 7,
    settling_deeds.complete_and_hand_on: 1,
    settling_deeds.fail: 7,
    settling_deeds.complete_in_plain_sql: 4,
    settling_deeds.fail_in_plain_sql: 1.5,
    operator_deeds.cancel: 5,
    operator_deeds.retry: 4,
    operator_deeds.delete: 1,
    operator_deeds.prioritize: 1,
    operator_deeds.forge: 1,
    operator_deeds.start_by_hand: 0.5,
    operator_deeds.wait_again_by_hand: 0.5,
    operator_deeds.rewrite_the_end: 0.5,
    operator_deeds.rob: 0.5,
    operator_deeds.give_to_the_busy: 0.5,
    operator_deeds.break_a_law: 0.5,
    operator_deeds.change_an_agent: 0.5,
    pass_deeds.time_passes: 5,
    pass_deeds.dispatch: 9,
    pass_deeds.block_stale_agents: 2,
    pass_deeds.take_back_lapsed: 1,
    pass_deeds.take_back_unaccepted: 1,
    pass_deeds.take_back_timed_out: 1,
    pass_deeds.end_overdue: 1,
    pass_deeds.end_cancelled: 1,
    pass_deeds.make_due: 1.5,
    pass_deeds.scan: 0.5,
    pass_deeds.look: 1,
}
"""None of them means anything by itself; together they keep the agents busy."""
