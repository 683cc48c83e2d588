"""Who is there: the scenes that a protocol is searched in."""

from tests.model.doorbell.world import Half, Plan, Row, Scene, Script

_HANDOFF, _AGENT = Script((Row(Half.HANDOFF),)), Script((Row(Half.AGENT),))

_A_STRANGER = Plan((_HANDOFF,))
"""Somebody hands off to an idle agent with whom nobody else has to do."""
_HALVES = Plan((_HANDOFF, _AGENT), idle=(0,))
"""One hands off, another frees the agent."""
_FOR_TWO = Plan((Script((Row(address=0), Row(address=1))),), idle=(1, 1))
"""One transaction hands off to two, and reads the flag twice."""

TWO_STRANGERS = Scene((_A_STRANGER,) * 2)
THREE_STRANGERS = Scene((_A_STRANGER,) * 3)
FOUR_STRANGERS = Scene((_A_STRANGER,) * 4)
TWO_HALVES = Scene((_HALVES,))
HALVES_AND_A_STRANGER = Scene((_HALVES, _A_STRANGER))

SAVEPOINTS = Scene((_A_STRANGER,) * 2, aborts=True, savepoints=True)
TWO_ROWS = Scene((_FOR_TWO,))
TWO_ROWS_AND_A_STRANGER = Scene((_FOR_TWO, _A_STRANGER))
A_HEARTBEAT = Scene((Plan((_HANDOFF, Script(locks=0))),))
ELSEWHERE = Scene((*(_A_STRANGER,) * 2, Plan((Script(),), idle=())))
"""Somebody writes again and again what is nobody's business here, and may take long."""
THE_AGENT_COMPLETES = Scene(
    (Plan((_HANDOFF, _HANDOFF, Script((Row(Half.AGENT),), once_dispatched=True))),)
)
"""Two handoffs for one agent, which is idle again once it has completed the first."""

A_SUCCESSOR = Scene((_A_STRANGER,) * 2, leaders_die=True)
A_SUCCESSOR_FOR_HALVES = Scene((_HALVES,), leaders_die=True)
A_SUCCESSOR_FOR_THREE = Scene((_A_STRANGER,) * 3, leaders_die=True)
ALL_AT_ONCE = Scene(
    (_A_STRANGER,) * 2, aborts=True, savepoints=True, leaders_die=True, server_dies=True
)
