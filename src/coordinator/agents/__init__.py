"""The agent's side: register, take up handoffs, hand work on.

from coordinator.agents import Agent

async with Agent.connect(dsn, "trae", roles=["reviewer"]) as agent:
async for handoff in agent.handoffs():
async with handoff:
...
"""

from coordinator.agents.agent import Agent, Handler, OnError, UnknownAddress, print_error
from coordinator.agents.held import GiveUp, HeldHandoff
from coordinator.agents.host import AgentHost
from coordinator.agents.sent import SentHandoff
from coordinator.core.errors import LeaseLost, RequestRefused, StoreUnavailable
from coordinator.core.model import AgentState, HandoffResult, NewHandoff, Outcome, Verdict

__all__ = [
    "Agent",
    "AgentHost",
    "AgentState",
    "GiveUp",
    "Handler",
    "HandoffResult",
    "HeldHandoff",
    "LeaseLost",
    "NewHandoff",
    "OnError",
    "Outcome",
    "RequestRefused",
    "SentHandoff",
    "StoreUnavailable",
    "UnknownAddress",
    "Verdict",
    "print_error",
]
