"""A model on loopback that follows a script, for Claude Code, Codex and Gemini alike.

Each client speaks its vendor's protocol to a base URL, `http://127.0.0.1:PORT/AGENT`. Whatever it
sends is read as the same history: which of the coordinator's tools were called, and what they
answered. The agent's script returns the next move, and knows nothing of protocols.
"""

import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """A call of one of the coordinator's tools, and its answer: parsed, or as text."""

    tool: str
    answer: Any


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model sees when it is asked for its next move."""

    tools: Sequence[str]
    """The coordinator's tools that it may call, by their own names."""
    done: Sequence[Done]
    """Its calls so far, the first one first."""
    heard: str
    """Everything that was said to it as text."""

    @property
    def last(self) -> Done | None:
        """The newest call."""
        return self.done[-1] if self.done else None


@dataclass(frozen=True, slots=True)
class Use:
    """Call a tool of the coordinator."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Say:
    """End the turn with this."""

    text: str


class NoAnswer(Exception):
    """Raised by a script: the model refuses the request."""


Move = Use | Say
Script = Callable[[Turn], Awaitable[Move]]


@dataclass(slots=True)
class ScriptedModel:
    """The models of several agents, on one port."""

    port: int
    scripts: dict[str, Script] = field(default_factory=dict)
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    """Every turn that was asked for, by agent."""

    def url(self, agent: str) -> str:
        """The base URL of an agent's model."""
        return f"http://127.0.0.1:{self.port}/{agent}"

    async def move(self, agent: str, turn: Turn) -> Move:
        """Follow the agent's script."""
        self.turns.setdefault(agent, []).append(turn)
        try:
            return await self.scripts[agent](turn)
        except NoAnswer:
            raise HTTPException(400, "the script has no answer") from None
        except Exception as error:
            error.add_note(f"in the script of {agent}, after {turn.last}")
            raise

    async def anthropic(self, request: Request) -> Response:
        """`POST /v1/messages`."""
        body = await request.json()
        move = await self.move(request.path_params["agent"], _from_anthropic(body))
        return _events(_as_anthropic(move, body["model"]), named=True)

    async def openai(self, request: Request) -> Response:
        """`POST /v1/responses`."""
        body = await request.json()
        move = await self.move(request.path_params["agent"], _from_openai(body))
        return _events(_as_openai(move), named=True)

    async def gemini(self, request: Request) -> Response:
        """`POST /v1beta/models/MODEL:streamGenerateContent`, and the calls beside it."""
        if request.path_params["call"].endswith(":countTokens"):
            return JSONResponse({"totalTokens": 1})
        turn = _from_gemini(await request.json())
        move = await self.move(request.path_params["agent"], turn)
        return _events([_as_gemini(move)], named=False)


@asynccontextmanager
async def scripted_model(
    scripts: Mapping[str, Script] | None = None,
) -> AsyncIterator[ScriptedModel]:
    """Serve models on a free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        model = ScriptedModel(sock.getsockname()[1], dict(scripts or {}))
        routes = [
            Route("/{agent}/v1/messages", model.anthropic, methods=["POST"]),
            Route("/{agent}/v1/responses", model.openai, methods=["POST"]),
            Route("/{agent}/v1beta/models/{call}", model.gemini, methods=["POST"]),
        ]
        web = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=routes, exception_handlers={HTTPException: _refusal}),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_serve_to_the_end, web, sock)
            try:
                yield model
            finally:
                web.should_exit = True


async def _serve_to_the_end(web: uvicorn.Server, sock: socket.socket) -> None:
    # Cancelled, it would leave the loop with a descriptor that the next socket gets.
    with anyio.CancelScope(shield=True):
        await web._serve([sock])


async def _refusal(_: Request, error: Exception) -> Response:
    """In a form that each of the three takes for an error of the request."""
    assert isinstance(error, HTTPException)
    told = {"type": "invalid_request_error", "message": error.detail, "code": error.status_code}
    return JSONResponse({"type": "error", "error": told}, status_code=error.status_code)


def _from_anthropic(body: Json) -> Turn:
    calls: dict[str, str] = {}
    done: list[Done] = []
    heard: list[str] = []
    for message in body["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            match block["type"]:
                case "text":
                    heard.append(block["text"])
                case "tool_use":
                    calls[block["id"]] = block["name"]
                case "tool_result":
                    done += _done(calls[block["tool_use_id"]], _text(block.get("content", "")))
    return Turn(_ours(tool["name"] for tool in body.get("tools", [])), done, "\n".join(heard))


def _as_anthropic(move: Move, model: str) -> Iterator[Json]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": _id("msg"), "type": "message", "role": "assistant", "model": model}
    start: Json = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    block: Json
    delta: Json
    match move:
        case Use(tool, arguments):
            name = f"mcp__coordinator__{tool}"
            block = {"type": "tool_use", "id": _id("toolu"), "name": name, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(dict(arguments))}
            reason = "tool_use"
        case Say(text):
            block, delta, reason = (
                {"type": "text", "text": ""},
                {"type": "text_delta", "text": text},
                "end_turn",
            )
    stop = {"stop_reason": reason, "stop_sequence": None}
    yield {"type": "message_start", "message": start}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": stop, "usage": usage}
    yield {"type": "message_stop"}


def _from_openai(body: Json) -> Turn:
    calls: dict[str, str] = {}
    done: list[Done] = []
    heard: list[str] = []
    for item in body["input"]:
        match item.get("type", "message"):
            case "message":
                heard.append(_text(item["content"]))
            case "function_call":
                calls[item["call_id"]] = item.get("namespace", "") + "__" + item["name"]
            case "function_call_output":
                done += _done(calls[item["call_id"]], _text(item["output"]))
    names = [
        f"{tool['name']}__{each['name']}"
        for tool in body.get("tools", [])
        if tool["type"] == "namespace"
        for each in tool["tools"]
    ]
    return Turn(_ours(names), done, "\n".join(heard))


def _as_openai(move: Move) -> Iterator[Json]:
    item: Json
    match move:
        case Use(tool, arguments):
            item = {
                "type": "function_call",
                "id": _id("fc"),
                "call_id": _id("call"),
                "namespace": "mcp__coordinator",
                "name": tool,
                "arguments": json.dumps(dict(arguments)),
            }
        case Say(text):
            content = [{"type": "output_text", "text": text, "annotations": []}]
            item = {"type": "message", "id": _id("msg"), "role": "assistant", "content": content}
    response = {"id": _id("resp"), "object": "response"}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    yield {"type": "response.created", "response": {**response, "status": "in_progress"}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    ended = {**response, "status": "completed", "output": [item], "usage": usage}
    yield {"type": "response.completed", "response": ended}


def _from_gemini(body: Json) -> Turn:
    done: list[Done] = []
    heard: list[str] = []
    for content in body["contents"]:
        for part in content.get("parts", []):
            if answer := part.get("functionResponse"):
                told = answer["response"]
                done += _done(answer["name"], _text(told.get("output", told)))
            elif "text" in part:
                heard.append(part["text"])
    declared = [d["name"] for t in body.get("tools", []) for d in t.get("functionDeclarations", [])]
    return Turn(_ours(declared), done, "\n".join(heard))


def _as_gemini(move: Move) -> Json:
    part: Json
    match move:
        case Use(tool, arguments):
            part = {"functionCall": {"name": f"mcp_coordinator_{tool}", "args": dict(arguments)}}
        case Say(text):
            part = {"text": text}
    content = {"role": "model", "parts": [part]}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return {
        "candidates": [{"index": 0, "content": content, "finishReason": "STOP"}],
        "usageMetadata": usage,
    }


_OURS = re.compile(r"^mcp_{1,2}coordinator_{1,2}(\w+)$")


def _ours(names: Iterator[str] | Sequence[str]) -> list[str]:
    return [found[1] for name in names if (found := _OURS.match(name))]


def _done(name: str, answer: str) -> list[Done]:
    return [Done(tool, _parsed(answer)) for tool in _ours([name])]


def _parsed(text: str) -> Any:
    """What a tool answered: clients put words before and after its JSON."""
    try:
        return json.JSONDecoder().raw_decode(text, text.index("{"))[0]
    except ValueError:
        return text


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_text(each.get("text", "")) for each in content)
    return json.dumps(content)


def _id(kind: str) -> str:
    return f"{kind}_{next(_numbers)}"


_numbers = itertools.count(1)


def _events(events: Iterator[Json] | Sequence[Json], *, named: bool) -> Response:
    text = "".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        if named
        else f"data: {json.dumps(event)}\n\n"
        for event in events
    )
    return Response(text, media_type="text/event-stream")
