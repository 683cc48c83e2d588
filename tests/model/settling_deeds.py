"""What agents do about the work they hold, or say to hold: by the functions, or by plain SQL."""

from collections.abc import Hashable
from datetime import timedelta
from typing import Any
from uuid import UUID

from coordinator.core.lifecycle import COMPLETED, IN_PROGRESS, AgentEvent, Event, State
from tests.model.deed import Answer, By, Deed, Rows, Seen, must
from tests.model.draw import ADDRESSES, Draw
from tests.model.ledger import Claim, Ledger
from tests.model.sending_deeds import LATER, MAX_BYTES, MAX_HOPS, draw_wish, item, take_in


def accept(draw: Draw) -> Deed:
    """Take up an attempt."""
    ledger, claim = draw.ledger, draw.claim()
    refusal = ledger.refusal_of_token(claim)
    return Deed(
        name="accept",
        by=By.AGENT,
        sql="select id, attempt from accept_handoff($1, $2, $3, $4)",
        values=_token(claim),
        expected=refusal or [(claim.handoff, claim.attempt)],
        follows=lambda _: ledger.accepted(claim.handoff),
        writes=_touched(ledger, claim),
    )


def report_progress(draw: Draw) -> Deed:
    """Say how far it got, and hear whether to stop."""
    ledger, claim = draw.ledger, draw.claim()
    refusal = ledger.refusal_of_token(claim)
    known = ledger.model.handoffs.get(claim.handoff)
    stopping = known is not None and known.state is State.STOPPING

    def follow(_: Rows) -> None:
        ledger.told["handoff.progressed"] += 1

    return Deed(
        name="report progress",
        by=By.AGENT,
        sql="select report_progress($1, $2, $3, $4, $5, $6)",
        values=(*_token(claim), draw.text(), draw.one(draw.shapes.objects)),
        expected=refusal or [(stopping,)],
        follows=follow,
        reads=_touched(ledger, claim),
    )


def held(draw: Draw) -> Deed:
    """Ask what an agent holds, as after a lost push."""
    ledger, name = draw.ledger, draw.one(ADDRESSES)
    life = draw.life(name)
    held = None if ledger.refusal_of_life(name, life) else ledger.model.holds.get(name)
    return Deed(
        name="held",
        by=By.AGENT,
        sql="select id, attempt from held_handoff($1, $2)",
        values=(name, life),
        expected=[(held, ledger.model.handoffs[held].attempt)] if held else [],
        reads=frozenset({name, held} if held else {name}),
    )


def complete(draw: Draw) -> Deed:
    """Complete an attempt."""
    ledger, claim, result = draw.ledger, draw.claim(), draw.one(draw.shapes.values)
    verdict = ledger.verdict(claim, "complete")
    if draw.now_and_then(0.02):
        result = "x" * MAX_BYTES
        verdict = verdict if verdict in {"repeated", "ZH004"} else "ZH006"
    return Deed(
        name="complete",
        by=By.AGENT,
        sql="select complete_handoff($1, $2, $3, $4, $5)",
        values=(*_token(claim), result),
        expected=_said(verdict),
        follows=lambda _: _completed(ledger, claim, verdict, result),
        writes=_touched(ledger, claim) | ledger.frees(claim.handoff),
    )


def complete_and_hand_on(draw: Draw) -> Deed:
    """Complete, with follow-ups in the same transaction; if these are refused, so is all."""
    ledger, claim = draw.ledger, draw.claim()
    verdict = ledger.verdict(claim, "complete")
    wishes = [
        draw_wish(draw, sender=claim.agent, plain=True) for _ in range(draw.chance.randint(1, 3))
    ]
    if verdict == "applied" and ledger.sent[claim.handoff].hop >= MAX_HOPS:
        verdict = "ZH007"

    def observe(_: Rows, seen: Seen) -> list[UUID]:
        new = [row for row in seen.handoffs.values() if row["id"] not in ledger.sent]
        must(len(new) == (len(wishes) if verdict == "applied" else 0), f"{len(new)} follow-ups")
        new = sorted(new, key=_position)
        for wish, row in zip(wishes, new, strict=False):
            take_in(ledger, row["id"], wish, claim.handoff)
        _completed(ledger, claim, verdict, None)
        return [row["id"] for row in new]

    return Deed(
        name="complete and hand on",
        by=By.AGENT,
        sql="select complete_handoff($1, $2, $3, $4, null, $5)",
        values=(*_token(claim), [item(wish) for wish in wishes]),
        expected=_said(verdict),
        observes=observe,
        writes=_touched(ledger, claim),
    )


def fail(draw: Draw) -> Deed:
    """Fail an attempt: to be tried again after a pause, at once, or never."""
    ledger, claim, result = draw.ledger, draw.claim(), draw.one(draw.shapes.values)
    verdict, retry = ledger.verdict(claim, "fail"), draw.now_and_then(0.8)
    pause = draw.one((None, LATER, timedelta(0), timedelta(seconds=-1)))

    def follow(_: Rows) -> None:
        if verdict == "applied":
            ledger.settles(claim, "fail", None)
            ledger.model.failed(
                claim.handoff, retry=retry, due=pause is not None and pause <= timedelta(0)
            )
            ledger.over(claim.handoff)
            if ledger.model.handoffs[claim.handoff].state in COMPLETED:
                ledger.sent[claim.handoff].result = result
        _late(ledger, claim, verdict)

    return Deed(
        name="fail",
        by=By.AGENT,
        sql="select fail_handoff($1, $2, $3, $4, $5, $6, $7, $8)",
        values=(*_token(claim), draw.text(), retry, pause, result),
        expected=_said(verdict),
        follows=follow,
        writes=_touched(ledger, claim) | ledger.frees(claim.handoff),
    )


def complete_in_plain_sql(draw: Draw) -> Deed:
    """Set a row to completed, as an agent does that knows only the tables."""
    ledger, handoff = draw.ledger, draw.handoff()
    known = ledger.model.handoffs.get(handoff)
    claim = None if known is None else Claim(handoff, known.attempt, known.holder or "", None)
    stands = claim is not None and ledger.stands(claim)
    expected: Answer = []
    if known is not None:
        expected = [("completed",)]
        if known.state in IN_PROGRESS and not stands:
            expected = "ZH001"
        elif known.state is State.PENDING:
            expected = "ZH005"

    def follow(_: Rows) -> None:
        if claim and stands:
            _completed(ledger, claim, "applied", None)

    return Deed(
        name="complete in plain SQL",
        by=By.PLAIN,
        sql="update handoffs set status = 'completed' where id = $1 returning status",
        values=(handoff,),
        expected=expected,
        follows=follow,
        writes=ledger.around(handoff) | ledger.frees(handoff),
    )


def fail_in_plain_sql(draw: Draw) -> Deed:
    """Set a row to failed, with an error, its attempt named as it should be."""
    ledger, claim = draw.ledger, draw.claim()
    # A text of its own, so that it changes even what has failed already.
    known, error = ledger.model.handoffs.get(claim.handoff), f"{draw.text()} {draw.identity()}"
    named = known is not None and known.attempt == claim.attempt
    token = Claim(claim.handoff, claim.attempt, ledger.holder(claim.handoff) or "", None)
    stands = ledger.stands(token)
    expected: Answer = []
    if known is not None and named:
        expected = [("completed", "cancelled" if known.state is State.STOPPING else "failed")]
        if known.state in IN_PROGRESS and not stands:
            expected = "ZH001"
        elif known.state in COMPLETED:
            expected = "ZH005"

    def follow(rows: Rows) -> None:
        if not rows:
            return
        if stands:
            ledger.settles(token, "fail", None)
            ledger.model.failed(claim.handoff, retry=False)
        else:
            # What waits may be ended by its sender's word; the table has the same step.
            ledger.model.ended(claim.handoff, Event.DEADLINE, None)
        ledger.over(claim.handoff)

    return Deed(
        name="fail in plain SQL",
        by=By.PLAIN,
        sql="update handoffs set status = 'completed', outcome = 'failed', last_error = $3"
        " where id = $1 and attempt = $2 returning status, outcome",
        values=(claim.handoff, claim.attempt, error),
        expected=expected,
        follows=follow,
        writes=ledger.around(claim.handoff) | ledger.frees(claim.handoff),
    )


def _completed(ledger: Ledger, claim: Claim, verdict: str, result: Any) -> None:
    if verdict == "applied":
        ledger.settles(claim, "complete", result)
        ledger.model.ended(claim.handoff, Event.COMPLETE, AgentEvent.FREED)
        ledger.over(claim.handoff)
    _late(ledger, claim, verdict)


def _late(ledger: Ledger, claim: Claim, verdict: str) -> None:
    """A stale word is kept, and shows that the body of this very life has ended."""
    if verdict != "stale":
        return
    ledger.told["handoff.settled_late"] += 1
    if ledger.refusal_of_life(claim.agent, claim.life) is None:
        ledger.model.agent(claim.agent, AgentEvent.LATE_WORD)


def _said(verdict: str) -> Answer:
    return verdict if verdict.startswith("ZH") else [(verdict,)]


def _token(claim: Claim) -> tuple[object, ...]:
    return claim.handoff, claim.attempt, claim.agent, claim.life


def _touched(ledger: Ledger, claim: Claim) -> frozenset[Hashable]:
    return ledger.around(claim.handoff) | {claim.agent}


def _position(row: Any) -> int:
    return int(row["position"])
