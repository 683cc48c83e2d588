"""What each tool does; each takes what `asked` has for it, and answers as `answers` says."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from mcp.server.context import ServerRequestContext

from coordinator.agents.mcp import answers, asked
from coordinator.agents.mcp.place import Place
from coordinator.agents.mcp.waiting import Found, Waiting, ceiling_for
from coordinator.agents.mcp.work import Work
from coordinator.core.errors import Refusal, RequestRefused, StoreUnavailable
from coordinator.core.model import AgentState, CancelAnswer, Token

_MOST_AGENTS = 200
_AGAIN = "Call wait_for_handoff if you are to take more work; otherwise end here."


@dataclass(frozen=True, slots=True)
class Desk:
    """What the tools work with."""

    place: Place
    work: Work
    waiting: Waiting


async def wait(desk: Desk, given: asked.Wait, ctx: ServerRequestContext) -> answers.Waited:
    """Wait for a handoff."""
    client = ctx.session.client_params
    ceiling = ceiling_for(client.client_info.name if client else None)
    at_most = min(ceiling, timedelta(seconds=given.at_most_s or ceiling.total_seconds()))

    async def tick(seconds: float) -> None:
        await ctx.session.report_progress(
            seconds, total=at_most.total_seconds(), message="waiting for a handoff"
        )

    waited = await desk.waiting.wait(at_most, tick)
    shown = answers.Shown.of(waited.handoff) if waited.handoff else None
    match waited.found:
        case Found.OFFERED:
            return answers.Waited(
                found="offered",
                handoff=shown,
                next="Call accept_handoff with its id and attempt within half a minute, before you"
                " begin; or decline_handoff.",
            )
        case Found.UNDER_WAY:
            return answers.Waited(
                found="under_way",
                handoff=shown,
                next="You have accepted this one already. Go on with it, and end it with"
                " complete_handoff or fail_handoff; then call wait_for_handoff.",
            )
        case Found.NOTHING:
            return answers.Waited(
                found="nothing_yet",
                handoff=None,
                next="There is nothing yet. Call wait_for_handoff again to go on waiting; it costs"
                " nothing while it waits.",
            )
        case Found.REPLACED:
            return answers.Waited(
                found="replaced",
                handoff=None,
                next="A newer call of wait_for_handoff is waiting; it will hear.",
            )


async def accept(desk: Desk, given: asked.Held, _: ServerRequestContext) -> answers.Accepted:
    """Take up what was shown."""
    row = await desk.work.accept(_token(given))
    next_ = (
        "It was cancelled meanwhile: call fail_handoff."
        if row.cancel_requested
        else "Do the work now. Report progress every few minutes, which also tells you whether to"
        " stop. End it with complete_handoff or fail_handoff."
    )
    return answers.Accepted(handoff=answers.Shown.of(row), next=next_)


async def decline(desk: Desk, given: asked.Decline, _: ServerRequestContext) -> answers.Settled:
    """Give back what was shown."""
    verdict = await desk.work.fail(
        _token(given), reason=f"declined: {given.reason}"[:4000], retry=True
    )
    return answers.Settled(verdict=verdict, next=_AGAIN)


async def report(desk: Desk, given: asked.Progress, _: ServerRequestContext) -> answers.Reported:
    """Record progress."""
    stop = await desk.work.report(_token(given), note=given.note, percent=given.percent)
    next_ = (
        "Somebody has cancelled it: stop, and call fail_handoff."
        if stop
        else "Go on with the work."
    )
    return answers.Reported(should_stop=stop, next=next_)


async def complete(desk: Desk, given: asked.Complete, _: ServerRequestContext) -> answers.Settled:
    """End as succeeded."""
    verdict = await desk.work.complete(
        _token(given),
        result=given.result,
        follow_ups=[each.as_handoff() for each in given.follow_ups],
    )
    return answers.Settled(verdict=verdict, next=_AGAIN)


async def fail(desk: Desk, given: asked.Fail, _: ServerRequestContext) -> answers.Settled:
    """End as failed, or try again later."""
    verdict = await desk.work.fail(
        _token(given),
        reason=given.reason,
        retry=given.retry,
        retry_in=None if given.retry_in_s is None else timedelta(seconds=given.retry_in_s),
        result=given.result,
    )
    return answers.Settled(verdict=verdict, next=_AGAIN)


async def hand_off(desk: Desk, given: asked.Sending, _: ServerRequestContext) -> answers.HandedOff:
    """Hand a task on."""
    # A call whose answer was lost is made again, and must not add a second handoff.
    key = f"once-{uuid4()}"
    new = given.as_handoff(key=key, parent_id=desk.work.handoff_id)
    try:
        [receipt] = await desk.place.ask(lambda calls, life: calls.hand_off(life, [new]))
    except StoreUnavailable as error:
        error.fix = (
            "It may have been handed off all the same. To find out, call hand_off again with the"
            f" same arguments and idempotency_key {new.idempotency_key}: it is never added twice."
        )
        raise
    return answers.HandedOff(
        handoff_id=receipt.handoff_id,
        repeated=receipt.repeated and given.idempotency_key is not None,
        warning=receipt.warning,
        next="Check the address with list_agents: nobody answers to it yet, and the handoff waits."
        if receipt.warning
        else "Go on; get_handoff shows what became of it.",
    )


async def cancel(desk: Desk, given: asked.Cancel, _: ServerRequestContext) -> answers.Cancelled:
    """Call a handoff back."""
    answer = await desk.place.ask(
        lambda calls, _: calls.cancel(given.handoff_id, reason=given.reason)
    )
    next_ = {
        CancelAnswer.CANCELLED: "Go on; nobody will work on it.",
        CancelAnswer.REQUESTED: "Its agent was asked to stop; get_handoff shows when it has.",
        CancelAnswer.COMPLETED: "It had ended before; get_handoff shows how.",
    }[answer]
    return answers.Cancelled(answer=answer, next=next_)


async def get(desk: Desk, given: asked.One, _: ServerRequestContext) -> answers.Shown:
    """Show a handoff."""
    row = await desk.place.ask(lambda calls, _: calls.handoff(given.handoff_id))
    if row is None:
        raise RequestRefused(
            Refusal.UNKNOWN_HANDOFF, f"there is no handoff {given.handoff_id} that you may see"
        )
    return answers.Shown.of(row)


async def list_agents(desk: Desk, _: asked.Nothing, __: ServerRequestContext) -> answers.Agents:
    """Show who is there."""
    found = await desk.place.ask(lambda calls, _: calls.colleagues(most=_MOST_AGENTS + 1))
    return answers.Agents(
        you=desk.place.agent_name, agents=found[:_MOST_AGENTS], more=len(found) > _MOST_AGENTS
    )


async def set_status(desk: Desk, given: asked.Status, _: ServerRequestContext) -> answers.Stands:
    """Say what the agent does."""
    state = AgentState(given.status)
    reason = given.reason if state is AgentState.BLOCKED else None
    stands = await desk.work.say(state, reason, current_task=given.current_task)
    desk.work.own_word = True
    return answers.Stands(
        status=stands, next="You get no work now. Call wait_for_handoff when you want some."
    )


def _token(given: asked.Held) -> Token:
    return Token(given.handoff_id, given.attempt)
