"""One answer of a plan, with all that can go wrong with it told apart.

An answer that is not in its format is mended (json-repair, inside the format's
reader) or asked for once more with the error shown. What was empty, cut off or
refused would be so again: it is not asked for a second time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from stillroom.engines import Engine, served_version
from stillroom.evals.filters.boilerplate import refuses
from stillroom.ledger import Spent
from stillroom.programs.answers import Answer
from stillroom.programs.plan import Plan
from stillroom.signatures import FORMATS, Unparsed

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

    from .steps import Trim

__all__ = ["SHOWN", "Reply", "ask", "scored"]

SHOWN = 400  # characters of an error that are shown to the model
STRING = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of asking.

    Attributes:
        outputs: The plan's outputs, or None.
        fault: Why there are none, or "".
        malformed: Whether the fault is one of form, so that another try may do better.
        text: What was written, as it was.
        finish: Why the model stopped.
        spent: What each call has cost.
        repaired: Whether the JSON had to be mended.
        reasked: Whether it was asked for a second time.
        served: The version that an endpoint says it answered with, or "".
        shares: Probability of each label, where they were scored.
    """

    outputs: dict[str, Any] | None
    fault: str
    malformed: bool
    text: str
    finish: str
    spent: tuple[Spent, ...]
    repaired: bool = False
    reasked: bool = False
    served: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)


async def ask(
    engine: Engine, plan: Plan, inputs: Mapping[str, Any], seed: int | None, *, reask: bool = True, trim: Trim = False
) -> Reply:
    """Ask `plan` about `inputs`; with `trim`, an answer that was cut off is kept as far as it is whole.

    Raises:
        EngineError: If a call failed for good.
        BudgetExceeded: From a metered engine, when a call does not fit.
    """
    request = plan.render(inputs, seed=seed)
    response = await engine.acomplete(request)
    reply = _read(plan, response)
    if trim and response.finish_reason == "length":
        reply = _trimmed(plan, reply, response.message.text or "", trim)
    if not (reply.malformed and reask):
        return reply
    second = _read(plan, await engine.acomplete(_again(request, reply)))
    return replace(second, spent=reply.spent + second.spent, reasked=True)


def scored(answer: Answer) -> Reply:
    """The reply of a plan that scores its labels: nothing was written that could be at fault."""
    return Reply(answer.outputs, answer.problem, False, "", "stop", (answer.cost.spent,), shares=answer.shares)


def _read(plan: Plan, response: Response) -> Reply:
    text, finish = response.message.text or "", response.finish_reason
    usage = response.usage
    spent = (Spent(1, usage.input_tokens or 0, usage.output_tokens or 0),)
    try:
        outputs = plan.read(response)
    except Unparsed as error:
        fault, malformed = _fault(str(error), text, finish)
        return Reply(None, fault, malformed, text, finish, spent, served=served_version(response))
    repaired = plan.format == "json" and not _is_json(text)
    if repaired and finish == "stop" and _ends_early(text):
        fault = "answer must be a whole JSON object, got one that ends in the middle"
        return Reply(None, fault, True, text, finish, spent, served=served_version(response))
    return Reply(outputs, "", False, text, finish, spent, repaired, served=served_version(response))


def _trimmed(plan: Plan, reply: Reply, text: str, trim: Trim = True) -> Reply:
    """The reply of an answer that was cut off, up to the last item, line or sentence that is whole; else as it is."""
    if plan.format == "json":
        end = "}" if re.search(r"\[\s*\{", text) else '"'
        ends = [found.start() + 1 for found in re.finditer(rf"{end}\s*,", text)]
    elif trim == "sentence":
        ends = [found.end() for found in re.finditer(r"[.!?][\"'\u201d\u2019)]*(?=\s)", text)]
    else:
        ends = [found.start() for found in re.finditer(r"\n", text.rstrip())]
    if not ends:
        return reply
    try:
        outputs = FORMATS[plan.format].parse(plan.asked, text[: ends[-1]])
    except Unparsed:
        return reply
    return replace(reply, outputs=outputs, fault="", malformed=False, finish="stop", repaired=plan.format == "json")


def _fault(error: str, text: str, finish: str) -> tuple[str, bool]:
    """What to say of an answer that did not parse, and whether it is only its form that is wrong."""
    if finish == "content_filter":
        return "the endpoint's filter stopped the answer", False
    if finish == "length" or not text.strip():
        return error, False
    refused = refuses(text)
    return (error, True) if refused.passed else (refused.why, False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _ends_early(text: str) -> bool:
    """Whether it breaks off inside a value. Mending would close the value there and pass half of it off as the answer."""
    rest = STRING.sub('""', text[text.find("{") :]).strip().removesuffix("```").rstrip()
    if rest.count('"') % 2:
        return not rest.endswith("}")  # else the odd quote stands within a text and does not begin one
    if rest.count("[") > rest.count("]"):
        return True
    return rest.count("{") > rest.count("}") and rest[-1] not in '"]}'


def _again(request: Request, reply: Reply) -> Request:
    """The same request with the answer that did not fit, and what was wrong with it."""
    from dspy.lm15 import Message

    complaint = f"That answer does not fit: {reply.fault[:SHOWN]}\nGive the whole answer again, in the form asked for."
    return replace(request, messages=(*request.messages, Message.assistant(reply.text), Message.user(complaint)))
