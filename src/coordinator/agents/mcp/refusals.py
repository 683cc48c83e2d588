"""How an error tells a model what to do next: what happened, why, and the next call to make."""

import json
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from pydantic import ValidationError

from coordinator.core.errors import (
    ConfigError,
    CoordinatorError,
    LeaseLost,
    Refusal,
    RequestRefused,
    StoreUnavailable,
)

_NEXT: Mapping[Refusal, str] = {
    Refusal.STALE_ATTEMPT: "Stop this work, and call wait_for_handoff for what is yours now.",
    Refusal.SUPERSEDED: "Stop: another process is this agent now. Tell your user.",
    Refusal.UNKNOWN_HANDOFF: "Check the id; wait_for_handoff shows what you hold.",
    Refusal.UNKNOWN_AGENT: "Call list_agents for the names there are.",
    Refusal.INVALID_VALUE: "Correct that value and call again; nothing was written.",
    Refusal.HOP_LIMIT: "Finish the work yourself, or fail the handoff: it was handed on too often.",
    Refusal.UNKNOWN_PARENT: "Hand off without a parent.",
    Refusal.IDEMPOTENCY_CONFLICT: "Use another idempotency_key for other content.",
    Refusal.NOT_THIS_LOGIN: "Leave it: your login may not do this. Tell your user.",
    Refusal.ILLEGAL_TRANSITION: "Call get_handoff to see where it stands.",
}
_NO_RIGHT = "42501"
_BAD_VALUES = ("22", "23")
"""Classes of SQLSTATEs: a value, or a constraint that it breaks."""
_LATER = "Wait a little and call again with the same arguments; what you hold stays yours."
_OPERATOR = "Tell your user: the operator must put this right. Then call again."


def refused(error: CoordinatorError) -> types.CallToolResult:
    """Answer a call that a rule, the database or a lost lease has stopped."""
    match error:
        case LeaseLost():
            code, next_ = "lease_lost", "Stop this work; do not repeat it. Call wait_for_handoff."
        case RequestRefused(code=code) if code == _NO_RIGHT:
            next_ = "Go on without it: this agent's login may not read that."
        case RequestRefused(code=code) if code.startswith(_BAD_VALUES):
            next_ = error.fix or _NEXT[Refusal.INVALID_VALUE]
        case RequestRefused(code=code):
            known = _NEXT.get(error.refusal) if error.refusal else None
            next_ = known or error.fix or _OPERATOR
        case StoreUnavailable():
            code, next_ = "store_unavailable", error.fix or _LATER
        case ConfigError():
            code, next_ = "misconfigured", _OPERATOR
        case _:
            code, next_ = "error", error.fix or _OPERATOR
    return trouble(_message(error.what), why=_why(error, next_), next_=next_, code=code)


def unfit(error: ValidationError, *, tool: str) -> types.CallToolResult:
    """Answer a call whose arguments do not fit; name each of them."""
    wrong = "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}"
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return trouble(
        f"{tool} was not called: its arguments do not fit",
        why=wrong,
        next_="Correct them as its input schema says, and call again; nothing was written.",
        code="invalid_arguments",
    )


def trouble(what: str, *, why: str | None, next_: str, code: str) -> types.CallToolResult:
    """Answer with an error: JSON as text.

    As structured content it would not fit the tool's output schema, which clients in TypeScript
    check on errors, too, and then show their own complaint in place of ours.
    """
    told = {"error": {"what": what, "why": why, "next": next_, "code": code}}
    return types.CallToolResult(content=[_text(told)], is_error=True)


def answered(content: Any) -> types.CallToolResult:
    """Answer with structured content, and the same as text for clients that know only that."""
    return types.CallToolResult(content=[_text(content)], structured_content=content)


def _text(content: Any) -> types.TextContent:
    return types.TextContent(text=json.dumps(content, ensure_ascii=False))


def _message(text: str) -> str:
    # The driver adds DETAIL, which quotes the whole row, and HINT, which is told as the way out.
    return text.partition("\nDETAIL: ")[0].partition("\nHINT: ")[0]


def _why(error: CoordinatorError, next_: str) -> str | None:
    parts = [part for part in (error.why, error.fix) if part and part != next_]
    return " ".join(parts) or None
