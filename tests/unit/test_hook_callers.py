"""Which hooks are of the session, by the programs that called them and by what the client says."""

import os

from coordinator.agents.mcp.callers import Callers
from coordinator.waking.programs import Program, program
from coordinator.waking.words import Origin

CLIENT, LAUNCHER, NESTED, STRANGER = (Program(pid, 1) for pid in (11, 12, 13, 14))
RUNS = program(os.getpid())


def test_what_our_client_calls_is_ours_whatever_its_session() -> None:
    callers = Callers(CLIENT)

    assert callers.admit(Origin((CLIENT,), "one"))
    assert callers.admit(Origin((CLIENT,), "two"))
    assert callers.is_our_client(Origin((CLIENT,), None))


def test_what_is_called_below_our_client_is_not_ours_though_it_begins() -> None:
    callers = Callers(CLIENT)

    assert not callers.admit(Origin((NESTED, CLIENT), "nested", begins=True))
    assert not callers.is_our_client(Origin((NESTED, CLIENT)))


def test_a_number_that_is_used_again_is_another_program() -> None:
    assert not Callers(CLIENT).is_our_client(Origin((Program(CLIENT.pid, 2),)))


def test_behind_a_launcher_who_comes_first_is_our_client() -> None:
    callers = Callers(LAUNCHER)

    assert callers.admit(Origin((CLIENT,), "ours"))
    assert not callers.admit(Origin((NESTED, CLIENT), "nested", begins=True))
    assert callers.admit(Origin((CLIENT,), "our next"))


def test_where_no_kernel_tells_the_first_session_is_ours_until_it_ends() -> None:
    callers = Callers(None)

    assert callers.admit(Origin((), "ours", begins=True))
    assert not callers.admit(Origin((), "another"))
    assert not callers.admit(Origin((), "another", ends=True))
    assert callers.admit(Origin((), "ours", ends=True))
    assert callers.admit(Origin((), "another"))


def test_where_no_kernel_tells_a_session_that_begins_takes_over() -> None:
    callers = Callers(None)
    callers.admit(Origin((), "ours"))

    assert callers.admit(Origin((), "next", begins=True))
    assert not callers.admit(Origin((), "ours"))


def test_a_session_without_an_id_is_believed() -> None:
    callers = Callers(None)

    assert callers.admit(Origin())
    assert callers.admit(Origin((), "ours"))
    assert callers.admit(Origin())


def test_a_session_whose_client_was_killed_keeps_nobody_out() -> None:
    assert RUNS is not None
    alive, killed = Callers(None), Callers(None)
    alive.admit(Origin((RUNS,), "ours"))
    killed.admit(Origin((STRANGER,), "ours"))

    assert not alive.admit(Origin((CLIENT,), "another"))
    assert killed.admit(Origin((CLIENT,), "another"))
