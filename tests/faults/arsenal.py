"""The faults that need no more than a server, daemons and clients."""

from tests.faults.blows.agent_doubled import AgentDoubled
from tests.faults.blows.agent_killed import AgentKilled
from tests.faults.blows.agent_stopped import AgentStopped
from tests.faults.blows.connections_exhausted import ConnectionsExhausted
from tests.faults.blows.daemon_killed import DaemonKilled
from tests.faults.blows.daemon_stopped import DaemonStopped
from tests.faults.blows.daemons_rolled import DaemonsRolled
from tests.faults.blows.horizon_held import HorizonHeld
from tests.faults.blows.reconnect_storm import ReconnectStorm
from tests.faults.blows.server_killed import ServerKilled
from tests.faults.blows.server_shut_down_fast import ServerShutDownFast
from tests.faults.blows.server_shut_down_immediately import ServerShutDownImmediately
from tests.faults.blows.session_killed import SessionKilled
from tests.faults.blows.session_terminated import SessionTerminated
from tests.faults.blows.sessions_terminated import SessionsTerminated
from tests.faults.blows.statement_timeouts import StatementTimeouts
from tests.faults.blows.stranger_locks import StrangerLocks
from tests.faults.fault import Fault

OF_THE_SERVER: tuple[Fault, ...] = (
    ConnectionsExhausted(),
    HorizonHeld(),
    ServerKilled(),
    ServerShutDownFast(),
    ServerShutDownImmediately(),
    SessionKilled(),
    SessionTerminated(),
    SessionsTerminated(),
    StatementTimeouts(),
    StrangerLocks(),
)
OF_PROCESSES: tuple[Fault, ...] = (
    AgentDoubled(),
    AgentKilled(),
    AgentStopped(),
    DaemonKilled(),
    DaemonStopped(),
    DaemonsRolled(),
    ReconnectStorm(),
)
ANYWHERE = (*OF_THE_SERVER, *OF_PROCESSES)
QUICK: tuple[Fault, ...] = (
    AgentKilled(),
    DaemonKilled(),
    HorizonHeld(),
    ServerKilled(),
    SessionTerminated(),
    SessionsTerminated(),
)
"""Those that are over at once; the rest of the time goes to many of them."""
