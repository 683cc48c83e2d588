"""An agent's place at a station: what pushes make of it."""

from datetime import timedelta
from typing import cast
from uuid import uuid4

import pytest

from coordinator.agents.link import Link
from coordinator.agents.post import Post
from coordinator.core.model import Life, Token

HELD = Token(uuid4(), 1)
OTHER = Token(uuid4(), 1)


class IdleBody:
    token = HELD

    def lose(self, why: str) -> None:
        raise AssertionError("a push alone stops nobody")

    def cancel(self) -> None:
        raise AssertionError("a push alone stops nobody")


def push(event: str, token: Token) -> str:
    return f'{{"event":"{event}","handoff_id":"{token.handoff_id}","attempt":{token.attempt}}}'


@pytest.mark.parametrize("event", ["taken_back", "cancel_requested"])
@pytest.mark.parametrize(("token", "is_in_doubt"), [(HELD, True), (OTHER, False)])
def test_a_push_that_overtakes_the_answer_to_taking_up_is_not_forgotten(
    event: str, token: Token, is_in_doubt: bool
) -> None:
    asked: list[bool] = []
    post = Post(
        Life("ada", uuid4()),
        cast(Link, None),  # nothing is asked here
        roles=(),
        metadata={},
        poll=timedelta(seconds=1),
        ask_soon=lambda: asked.append(True),
    )
    post.hear_push(push(event, token))
    assert not post.in_doubt

    post.begin(IdleBody())

    assert post.in_doubt is is_in_doubt
    assert bool(asked) is is_in_doubt
