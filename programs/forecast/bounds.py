"""What one row may cost at the least and at the most, by arithmetic alone: from the parts of a flow and a few of its prompts.

Prompts of rows that are wanted are rendered and counted. What models will write is not
known: where a prompt holds it, it counts as long as it may be at the most, and as nothing at
the least.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from stillroom.engines import Engine
from stillroom.evals.gates import Gate
from stillroom.ledger import Spent
from stillroom.programs.flow import Ask, At, Do, Flow, Split, Wanted
from stillroom.programs.flow.asking import SHOWN
from stillroom.programs.flow.passing import asks
from stillroom.programs.judges import Either, Head
from stillroom.programs.plan import Plan

from .some import Few

if TYPE_CHECKING:
    from dspy.lm15 import Request

__all__ = ["UNSEEN", "Asking", "askings", "gate_askings", "words", "worst_call"]

LOOKED_AT = 64
"""Wanted rows whose prompts are counted."""
COMPLAINT = SHOWN + 100  # tokens of it at the most: one a byte
UNSEEN = "?"
"""In place of a model where a gate does not tell whom it asks."""


@dataclass(frozen=True)
class Asking:
    """The calls that one part of a flow may make for a row.

    Attributes:
        part: Its name.
        model: Who is asked.
        least: Calls for a row that is accepted in the end.
        most: Calls for a row that is begun; None where that is not known.
        always: Whether no gate comes before it, so that it is asked about every row that is begun.
        least_in: Prompt tokens of a call: one a word, as hardly a token spans two.
        known_in: As the engine counts what is known of the prompts.
        most_in: The same with all that may come to them; None where that is not known.
        most_out: Tokens that a call may write.
        gives: Accepted rows that may come of its calls: several where a row is split later, None where nobody knows
            into how many.
    """

    part: str
    model: str
    least: int
    most: int | None
    always: bool
    least_in: int
    known_in: int
    most_in: int | None
    most_out: int
    gives: int | None = 1


def askings(flow: Flow, engines: Sequence[Engine]) -> list[Asking]:
    """The calls of each part of `flow`, in their order; `engines` are the run's own and those beside it."""
    rows = [wanted for wanted in Few.of(flow.source, LOOKED_AT).rows if not wanted.fault]
    by_model = {engine.model: engine for engine in reversed(engines)}
    room: dict[str, int | None] = {}  # tokens that the fields may have which are not known yet
    found: list[Asking] = []
    splits = [part.most for part in flow.parts if isinstance(part, Split)]
    many: int | None = 1  # rows that one has become at the most
    first = True  # whether no gate came before
    for name, part in zip(flow.names, flow.parts, strict=True):
        if isinstance(part, Ask):
            engine = by_model.get(part.plan.model, engines[0])
            again = 2 if part.reask and part.plan.scored is None else 1
            reads = [(part.inputs or {}).get(each.name, each.name) for each in part.plan.shape.inputs]
            prompts = [_prompt(part, wanted) for wanted in rows]
            least = 0 if part.when is not None else part.samples
            most = times([many, part.samples * again * engine.calls_per_request])
            asking = _asking(name, part.plan, engine, (least, most, first), prompts, _sum(room, reads))
            asking = replace(asking, gives=times(splits))
            found.append(_again(asking) if again > 1 else asking)
            room.update(dict.fromkeys(part.adds, part.plan.decoding.max_tokens * part.samples))
        elif isinstance(part, Do):
            room.update(dict.fromkeys(part.adds))
        elif isinstance(part, Split):
            many, first = times([many, splits.pop(0)]), False
        else:
            gate = part.gate if isinstance(part, At) else part
            found += [
                replace(each, gives=times(splits)) for each in gate_askings(name, gate, by_model, room, many=many)
            ]
            first = False
    return found


def worst_call(flow: Flow, engines: Sequence[Engine]) -> Spent:
    """What the ledger keeps room for before the dearest call is made, as far as prompts are known."""
    known = {engine.model: engine.price for engine in engines}
    worst = Spent()
    for each in askings(flow, engines):
        price = known.get(each.model)
        usd = 0.0 if price is None else price.usd(each.known_in, each.most_out)
        tokens = max(worst.tokens_in, each.known_in + each.most_out)
        worst = Spent(1, tokens, 0, max(worst.usd, usd))
    return worst


def _again(asking: Asking) -> Asking:
    """With a second prompt that shows the first answer, and what is wrong with it."""
    longer = None if asking.most_in is None else asking.most_in + asking.most_out + COMPLAINT
    return replace(asking, most_in=longer)


def times(counts: Sequence[int | None]) -> int | None:
    """The product; None if one of them is."""
    known = [each for each in counts if each is not None]
    return prod(known) if len(known) == len(counts) else None


def _sum(room: Mapping[str, int | None], names: Iterable[str]) -> int | None:
    found = [room.get(name, 0) for name in names]
    return None if None in found else sum(each for each in found if each is not None)


def _prompt(part: Ask, wanted: Wanted) -> Request:
    """The prompt of a wanted row, with nothing in place of what is not known yet."""
    plan = part.plan if part.vary is None else part.vary(wanted, wanted.fields)
    names = part.inputs or {}
    return plan.render(
        {each.name: wanted.fields.get(names.get(each.name, each.name), "") for each in plan.shape.inputs}
    )


def gate_askings(
    name: str,
    gate: Gate,
    by_model: Mapping[str, Engine],
    room: Mapping[str, int | None] | None = None,
    *,
    many: int | None = 1,
) -> list[Asking]:
    """The calls of one gate for a row that comes to it.

    Args:
        name: Of the gate.
        gate: Whether it asks or not.
        by_model: Engines by model.
        room: Tokens that fields may have which are not known yet.
        many: Rows that one may have become before it comes there; None where nobody knows.
    """
    room = room or {}
    if not asks(gate):
        return []
    judges = _judges(getattr(gate, "judge", None))
    if judges is None:
        return [Asking(name, UNSEEN, 0, None, False, 0, 0, None, 0)]
    found = []
    for judge, always in judges:
        plan: Plan = judge.plan
        engine = by_model.get(judge.engine.model, judge.engine)
        each = getattr(judge, "askings", 1)
        reads = [getattr(gate, "reads", {}).get(field.name, field.name) for field in plan.shape.inputs]
        known = all(isinstance(source, str) for source in reads)
        prompts = [plan.render({field.name: "" for field in plan.shape.inputs})]
        calls = each if always else 0, times([many, each * engine.calls_per_request]), False
        found.append(_asking(name, plan, engine, calls, prompts, _sum(room, reads) if known else None))
    return found


def _judges(judge: Any) -> list[tuple[Any, bool]] | None:
    """Who is asked, and whether about every row; None where that cannot be seen."""
    if isinstance(judge, Either):
        first, second = _judges(judge.first), _judges(judge.second)
        return None if first is None or second is None else [*first, *((each, False) for each, _ in second)]
    if isinstance(judge, Head):
        return []
    return [(judge, True)] if isinstance(getattr(judge, "plan", None), Plan) and hasattr(judge, "engine") else None


def _asking(
    name: str,
    plan: Plan,
    engine: Engine,
    calls: tuple[int, int | None, bool],
    prompts: Sequence[Request],
    unknown: int | None,
) -> Asking:
    """`unknown`: tokens that may come to the prompts as they are here."""
    labels = [] if plan.scored is None else plan.continuations.values()
    known = max(map(engine.count_tokens, prompts), default=0) + sum(len(text.encode()) for text in labels)
    return Asking(
        name,
        plan.model,
        *calls,
        min(map(words, prompts), default=0),
        known,
        None if unknown is None else known + unknown,
        plan.decoding.max_tokens if plan.scored is None else 0,
    )


def words(prompt: Request) -> int:
    """Words of a prompt: hardly fewer than its tokens."""
    texts = [prompt.system if isinstance(prompt.system, str) else "", *(each.text or "" for each in prompt.messages)]
    return sum(len(text.split()) for text in texts)
