"""What to answer to a message that cannot be read: the SDK would drop it, and its sender wait.

A client in JavaScript sends half a character, cut out of an emoji, without a second thought. The
SDK's parser takes neither that nor very deep or very long things, so the request's id is looked for
among the words at the top of the message.
"""

import json
import re

import mcp_types as types
from pydantic import ValidationError

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_ID = re.compile(r'\s*:\s*("(?:[^"\\]|\\.)*"|-?\d{1,15})(?=\s*[,}])')
_NEXT = "Leave that out, or send it in a simpler form, and call again; nothing was written."


def complaint(line: str) -> types.JSONRPCError | None:
    """Return the answer to a line that cannot be read; None for one that can, and for a blank."""
    if not line.strip():
        return None
    try:
        types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return _refusal(request_id(line), why=first["msg"])
    return None


def request_id(line: str) -> str | int | None:
    """The id of a request that may be no JSON; None where it has none that can be told."""
    depth = 0
    for word in _WORD.finditer(line):
        if word[0] in "{[":
            depth += 1
        elif word[0] in "}]":
            depth -= 1
        elif depth == 1 and word[0] == '"id"' and (found := _ID.match(line, word.end())):
            value: str | int = json.loads(found[1])
            return value if str(value).isprintable() else None
    return None


def _refusal(to: str | int | None, *, why: str) -> types.JSONRPCError:
    what = "the message could not be read, and was not acted upon"
    told = {"error": {"what": what, "why": why, "next": _NEXT, "code": "unreadable"}}
    data = types.ErrorData(code=types.PARSE_ERROR, message=f"{what}: {why}. {_NEXT}", data=told)
    return types.JSONRPCError(jsonrpc="2.0", id=to, error=data)
