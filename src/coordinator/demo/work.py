"""What the three agents do: write a small function, review it, and mend it.

They stand in for real agents, and their skill is small: the implementer knows a first draft with a
bug and a second one without. The rest is real. The reviewer runs the draft that it was handed, and
what it finds decides whether there is a fix.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import anyio
from pydantic import BaseModel, ConfigDict

from coordinator.core.model import Json, NewHandoff

PLANNER, IMPLEMENTER, REVIEWER = "planner", "implementer", "reviewer"
"""The roles, which are the addresses that handoffs go to."""

ASSIGNMENT = "Plan a function that makes a heading fit for a URL"

_FIRST_DRAFT = """\
def slugify(heading):
    small = heading.lower()
    return small.replace(" ", "-")
"""
_SECOND_DRAFT = """\
def slugify(heading):
    words = heading.lower().split()
    return "-".join(words)
"""
_CHECK = """
import json, sys
order = json.load(sys.stdin)
names = {}
exec(order["code"], names)
print(json.dumps([names[order["function"]](given) for given in order["given"]]))
"""
_CHECK_WITHIN = timedelta(seconds=10)


class _Paper(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Example(_Paper):
    """What the function must return for what it is given."""

    given: str
    expected: str


class Spec(_Paper):
    """What the planner wants."""

    function: str
    meaning: str
    examples: tuple[Example, ...]


class Papers(_Paper):
    """The context of a handoff between the agents: the spec, the draft, what is wrong with it."""

    spec: Spec
    code: str | None = None
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What an agent does about a handoff: steps that can be watched, a result, what it hands on."""

    steps: tuple[str, ...]
    result: Json
    follow_ups: tuple[NewHandoff, ...] = ()


async def work_on(role: str, context: Mapping[str, object]) -> Work:
    """Do what the role is there for; raise pydantic's ValidationError for papers it cannot read."""
    if role == PLANNER:
        return _plan()
    papers = Papers.model_validate(context)
    return _implement(papers) if role == IMPLEMENTER else await _review(papers)


def _plan() -> Work:
    spec = Spec(
        function="slugify",
        meaning="small letters, words joined by one hyphen, nothing else",
        examples=(
            Example(given="Hello", expected="hello"),
            Example(given="Hello World", expected="hello-world"),
            Example(given=" two  spaces ", expected="two-spaces"),
        ),
    )
    steps = (f"spec: {spec.function} gives {spec.meaning}", f"{len(spec.examples)} examples")
    return Work(steps, spec.model_dump(), (_to(IMPLEMENTER, "Implement slugify", spec=spec),))


def _implement(papers: Papers) -> Work:
    code = _SECOND_DRAFT if papers.wrong else _FIRST_DRAFT
    task = "Review slugify again" if papers.wrong else "Review slugify"
    review = _to(REVIEWER, task, spec=papers.spec, code=code)
    return Work(tuple(code.splitlines()), {"code": code}, (review,))


async def _review(papers: Papers) -> Work:
    examples = papers.spec.examples
    answers = await _run(papers)
    wrong = tuple(
        f"{example.given!r} gives {answer!r}, not {example.expected!r}"
        for example, answer in zip(examples, answers, strict=True)
        if answer != example.expected
    )
    steps = tuple(
        f"{example.given!r} gives {answer!r}"
        for example, answer in zip(examples, answers, strict=True)
    )
    if not wrong:
        return Work((*steps, "it is right"), {"passed": True, "examples": len(examples)})
    fix = _to(IMPLEMENTER, "Fix slugify", spec=papers.spec, code=papers.code, wrong=wrong)
    return Work((*steps, f"wrong: {wrong[0]}"), {"passed": False, "wrong": list(wrong)}, (fix,))


async def _run(papers: Papers) -> list[str]:
    """What the draft gives for each example, in a process of its own."""
    order = {
        "code": papers.code,
        "function": papers.spec.function,
        "given": [example.given for example in papers.spec.examples],
    }
    with anyio.fail_after(_CHECK_WITHIN.total_seconds()):
        done = await anyio.run_process(
            [sys.executable, "-I", "-c", _CHECK],
            input=json.dumps(order).encode(),
            stderr=subprocess.STDOUT,
        )
    answers: list[str] = json.loads(done.stdout)
    return answers


def _to(role: str, task: str, **papers: object) -> NewHandoff:
    context = Papers.model_validate(papers).model_dump(mode="json")
    return NewHandoff(to_agent=role, task_description=task, context=context)
