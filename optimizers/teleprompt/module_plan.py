"""A compiled DSPy module as a value: the choices of each predictor, kept as readable JSON.

Importing this module imports DSPy.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import dspy

from stillroom.errors import BadConfig
from stillroom.optimizers.subject import Choice, Part
from stillroom.programs import Decoding, Demo
from stillroom.values import digest, pretty, write_atomic

from ._adapters import AMBIENT, FORM, FORMATS, CompiledPredict, ambient_format
from ._rows import plain

__all__ = [
    "FILE",
    "Compilation",
    "apply_choices",
    "copy_module",
    "default_choice",
    "inner_lms",
    "load_module",
    "module_code",
    "module_parts",
    "overrides",
    "put",
    "save_choices",
    "structure",
]

VERSION = 1
FILE = "module.json"
UNSET_MAX_TOKENS = 1024  # what a call is bounded by where nobody says
# DSPy's modules that hold a module of the user's own and add nothing to its prompts
WRAPPERS = ("BestOfN", "Refine", "Retry")


@dataclass(frozen=True)
class Compilation:
    """What a compiled module carries in its attribute `stillroom`.

    Attributes:
        verdict: What the search established, in words.
        established: Whether a better program than the student was.
        search_score, baseline_score: Mean scores on the search rows, 0..1.
        run: Its run folder, with `module.json` and `run.db`.
    """

    verdict: str
    established: bool
    search_score: float
    baseline_score: float
    run: str


# -- reading a module -----------------------------------------------------------------


def module_parts(student: dspy.Module, formats: tuple[str, ...] | None = None, reasoning: bool = True) -> list[Part]:
    """The predictors of `student`; those in compiled sub-modules are left alone, as DSPy's optimizers do.

    Args:
        student: Any DSPy module.
        formats: Names out of chat, json, xml that may be tried; `None` for all.
        reasoning: Whether reasoning may be added where it makes sense.

    Raises:
        BadConfig: If it is no module or has no predictor, or a format is unknown.
    """
    if not isinstance(student, dspy.Module):
        raise BadConfig(f"a student must be a dspy.Module, got {type(student).__name__}")
    unknown = sorted(set(formats or ()) - set(FORMATS))
    if unknown:
        raise BadConfig(f"formats of a module may be {', '.join(FORMATS)}, got {unknown}")
    predictors = student.named_predictors()
    if not predictors:
        raise BadConfig(
            f"a student must have a predictor to compile, got none in {type(student).__name__}",
            mend="Predictors are attributes (or in lists and dicts of attributes); those of compiled sub-modules are frozen.",
        )
    built_in = _inside_of_dspy(student)
    return [_part(name, each, formats, reasoning and id(each) not in built_in) for name, each in predictors]


def _part(name: str, predictor: dspy.Predict, formats: tuple[str, ...] | None, reasoning: bool) -> Part:
    signature = predictor.signature
    outputs = tuple(signature.output_fields)
    bare = type(predictor) in (dspy.Predict, CompiledPredict)
    reasons = reasoning and bare and "reasoning" not in signature.fields
    default = _format(predictor)
    said = [each for each in outputs if each != "reasoning"]
    labels = _labels(signature.output_fields[said[0]].annotation) if len(said) == 1 else ()
    others = tuple(each for each in (formats or FORMATS) if each != default)
    return Part(
        name,
        signature.instructions,
        tuple(signature.input_fields),
        outputs,
        labels,
        (default, *others),
        (False, True) if reasons else (False,),
    )


def _labels(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(value) for value in get_args(annotation))
    return ("True", "False") if annotation is bool else ()


def _format(predictor: dspy.Predict) -> str:
    return getattr(predictor, "stillroom_format", None) or ambient_format()


def _inside_of_dspy(student: dspy.Module) -> set[int]:
    """Predictors that a module of DSPy's own (ChainOfThought, ReAct, ...) holds: they reason, or must not."""
    found: set[int] = set()
    for _, module in student.named_sub_modules(dspy.Module):
        kinds = [kind for kind in type(module).__mro__ if kind.__module__.startswith("dspy.predict.")]
        if kinds and not isinstance(module, dspy.Predict) and kinds[0].__name__ not in WRAPPERS:
            found |= {id(inner) for _, inner in module.named_sub_modules(dspy.Predict)}
    return found


def default_choice(predictor: dspy.Predict, lm: Any) -> Choice:
    """How `predictor` is asked as declared, on `lm` where it has none of its own.

    Decoding that neither of them sets is told as greedy and 1,024 tokens, and stays unset.
    """
    lm = predictor.lm or lm
    settings = {**(getattr(lm, "kwargs", None) or {}), **predictor.config}
    room = settings.get("max_tokens") or settings.get("max_completion_tokens") or UNSET_MAX_TOKENS
    decoding = Decoding(settings.get("temperature") or 0.0, room, settings.get("top_p"))
    demos = tuple(_demo(each, predictor.signature) for each in predictor.demos)
    return Choice(predictor.signature.instructions, demos, _format(predictor), False, decoding)


def _demo(shown: Any, signature: Any) -> Demo:
    inputs = {name: plain(shown[name]) for name in signature.input_fields if name in shown}
    outputs = {name: plain(shown[name]) for name in signature.output_fields if name in shown}
    return Demo(digest([inputs, outputs]), inputs, outputs)


def structure(student: dspy.Module) -> dict[str, Any]:
    """What the answers of `student` depend on beside choices: its code, signatures, demos and LMs, as plain JSON."""
    states = {}
    for name, predictor in student.named_sub_modules(dspy.Predict):
        fields = {key: [str(field.annotation), *_said(field)] for key, field in predictor.signature.fields.items()}
        demos = [plain(dict(demo.items())) for demo in predictor.demos]
        state = [predictor.signature.instructions, fields, demos, plain(predictor.config), _format(predictor)]
        states[name] = [*state, getattr(predictor.lm, "model", None)]
    return {"code": _sources(student, ours=True), "predictors": states, "adapter": _adapter_words()}


def _adapter_words() -> str:
    adapter = dspy.settings.adapter or dspy.ChatAdapter()
    return f"{type(adapter).__name__}, native tools {getattr(adapter, 'use_native_function_calling', False)}"


def _said(field: Any) -> list[str]:
    extra = field.json_schema_extra or {}
    return [str(extra.get("desc")), str(extra.get("__dspy_field_type"))]


def module_code(student: dspy.Module) -> str:
    """Source of the user's own module classes in `student`; "" where it cannot be read or all are DSPy's."""
    return "\n\n".join(source for source in _sources(student, ours=False).values() if source)


def _sources(student: dspy.Module, *, ours: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for _, module in student.named_sub_modules(dspy.Module):
        kind = type(module)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if not kind.__module__.startswith(("dspy.", "stillroom.")):
            try:
                found[name] = inspect.getsource(kind)
            except (OSError, TypeError):  # a class typed in by hand
                found[name] = ""
        elif ours:
            found[name] = ""
    return found


# -- writing a module -----------------------------------------------------------------


def inner_lms(student: dspy.Module) -> Iterator[tuple[Any, str, Any]]:
    """Every LM that a module inside `student` holds as an attribute: (module, attribute, LM)."""
    for _, module in student.named_sub_modules(dspy.Module):
        for name, value in list(vars(module).items()):
            if isinstance(value, dspy.BaseLM):
                yield module, name, value


def copy_module(student: dspy.Module) -> dspy.Module:
    """A deep copy of `student` that shares its LMs.

    Raises:
        BadConfig: If the copy would share predictors too.
    """
    shared = {id(lm): lm for _, _, lm in inner_lms(student)}
    try:
        copied = copy.deepcopy(student, dict(shared))
    except (TypeError, AttributeError, ValueError, copy.Error):
        copied = student.deepcopy()  # DSPy's own, attribute by attribute
    mine = {id(each) for each in student.predictors()}
    if any(id(each) in mine for each in copied.predictors()):
        raise BadConfig(
            f"a student must be copyable, got {type(student).__name__} whose copy shares its predictors",
            mend="Keep locks, clients and files out of the lists that hold predictors.",
        )
    return copied


def overrides(choice: Choice, default: Choice) -> dict[str, Any]:
    """The decoding that `choice` sets beyond the `default`, in DSPy's keywords."""
    wanted, declared = choice.decoding, default.decoding
    names = ("temperature", "max_tokens", "top_p")
    return {name: getattr(wanted, name) for name in names if getattr(wanted, name) != getattr(declared, name)}


def put(predictor: dspy.Predict, choice: Choice, config: Mapping[str, Any]) -> None:
    """Make `predictor` ask as `choice` says, with `config` over its own; what is as declared is not touched."""
    signature = predictor.signature
    if choice.instruction != signature.instructions:
        signature = signature.with_instructions(choice.instruction)
    if choice.demos != tuple(_demo(each, predictor.signature) for each in predictor.demos):
        predictor.demos = [_shown(demo, signature) for demo in choice.demos]
    format = choice.format if choice.format not in (AMBIENT, _format(predictor)) else None
    if choice.reasoning:
        signature = signature.prepend("reasoning", dspy.OutputField(desc="${reasoning}"), type_=str)
    predictor.signature = signature
    if config:
        predictor.config = {**predictor.config, **_keywords(config, predictor)}
    if format or choice.reasoning or config:
        predictor.__class__ = CompiledPredict
        predictor.stillroom_format = format or predictor.stillroom_format
        predictor.stillroom_reasoning = choice.reasoning or predictor.stillroom_reasoning


def _keywords(config: Mapping[str, Any], predictor: dspy.Predict) -> dict[str, Any]:
    """Some models take the longest answer under another name, which their `dspy.LM` then uses."""
    lm = predictor.lm or dspy.settings.lm
    other = "max_completion_tokens" in (getattr(lm, "kwargs", None) or {})
    return {("max_completion_tokens" if other and name == "max_tokens" else name): config[name] for name in config}


def _shown(demo: Demo, signature: Any) -> dspy.Example:
    values = {
        name: _typed(value, signature.fields.get(name)) for name, value in {**demo.inputs, **demo.outputs}.items()
    }
    return dspy.Example(**values).with_inputs(*demo.inputs)


def _typed(value: Any, field: Any) -> Any:
    """Bring a plain value back to the field's own type, where it has one: images, histories, models."""
    from pydantic import BaseModel, TypeAdapter, ValidationError

    kind: Any = getattr(field, "annotation", None)
    kinds = [kind, *get_args(kind)]
    if not any(isinstance(each, type) and issubclass(each, BaseModel) for each in kinds):
        return value
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return value  # adapters write plain values as well


# -- as a file ------------------------------------------------------------------------


def save_choices(
    path: Path, student: dspy.Module, choices: Mapping[str, Choice], lm: Any, notes: Mapping[str, Any]
) -> None:
    """Write the choices made for `student`, whose LM is `lm` where a predictor has none, as readable JSON."""
    predictors = dict(student.named_predictors())
    config = {name: overrides(choice, default_choice(predictors[name], lm)) for name, choice in choices.items()}
    decided = {
        "parts": _fields(student),
        "choices": {name: choice.as_json() for name, choice in choices.items()},
        "config": {name: values for name, values in config.items() if values},
    }
    head = {"stillroom": VERSION, "kind": "module-plan", "digest": digest(plain(decided))}
    write_atomic(path, pretty({**head, "program": type(student).__name__, **plain(decided), "notes": plain(notes)}))


def _fields(student: dspy.Module) -> dict[str, Any]:
    return {
        name: {"inputs": list(each.signature.input_fields), "outputs": list(each.signature.output_fields)}
        for name, each in student.named_predictors()
    }


def load_module(student: dspy.Module, run: Path | str) -> dspy.Module:
    """Bring what was compiled onto a copy of a fresh `student`.

    Args:
        student: The program as it was when it was compiled.
        run: The run folder, its `module.json`, or a JSON state that the compiled module's `save` wrote.

    Raises:
        BadConfig: If it is none of these, or belongs to a program with other predictors.
    """
    path = Path(run)
    path = path / FILE if path.is_dir() else path
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadConfig(f"a compiled module must exist, got {str(path)!r}") from error
    except ValueError as error:
        raise BadConfig(f"{path} is not a compiled module ({error})") from error
    if isinstance(value, dict) and "kind" not in value and "metadata" in value:
        return _from_state(student, path, value)
    return apply_choices(student, value)


def _from_state(student: dspy.Module, path: Path, state: Mapping[str, Any]) -> dspy.Module:
    module = copy_module(student)
    names = {name for name, _ in module.named_predictors()}
    _same(dict.fromkeys(names), dict.fromkeys(name for name in state if name != "metadata"))
    for name, predictor in module.named_predictors():
        form = state[name].get(FORM)
        if form is not None:
            predictor.__class__ = CompiledPredict
            predictor.stillroom_reasoning = bool(form["reasoning"])
            if form["reasoning"] and "reasoning" not in predictor.signature.fields:
                field = dspy.OutputField(desc="${reasoning}")
                predictor.signature = predictor.signature.prepend("reasoning", field, type_=str)
    module.load(path)
    module._compiled = True
    return module


def apply_choices(student: dspy.Module, value: Mapping[str, Any] | Path | str) -> dspy.Module:
    """Bring saved choices (what `module.json` holds, or its path) onto a copy of a fresh `student`.

    Raises:
        BadConfig: If it is not a module's plan of this version, was edited without its digest, or
            belongs to a program with other predictors.
    """
    if isinstance(value, (str, Path)):
        return load_module(student, value)
    kind, version = (value.get("kind"), value.get("stillroom")) if isinstance(value, Mapping) else (None, None)
    if kind != "module-plan" or version != VERSION:
        raise BadConfig(
            f"a compiled module must have kind 'module-plan' and version {VERSION}, got {kind!r} and {version!r}"
        )
    try:
        decided = {name: value[name] for name in ("parts", "choices", "config")}
        choices = {name: _choice(each) for name, each in decided["choices"].items()}
        found = digest(decided)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadConfig(f"these choices cannot be read ({type(error).__name__}: {error})") from error
    if found != value.get("digest"):
        raise BadConfig(
            f"a plan's digest must match its content, got {value.get('digest')} for {found}",
            mend="If it was edited on purpose, put the new digest in.",
        )
    module = copy_module(student)
    _same(_fields(module), decided["parts"])
    for name, predictor in module.named_predictors():
        if name in choices:
            put(predictor, choices[name], decided["config"].get(name, {}))
    module._compiled = True
    return module


def _choice(value: Mapping[str, Any]) -> Choice:
    demos = tuple(Demo(**demo) for demo in value["demos"])
    return Choice(**{**value, "demos": demos, "decoding": Decoding(**value["decoding"])})


def _same(mine: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    differ = sorted(name for name in mine.keys() | saved.keys() if mine.get(name, "") != saved.get(name, ""))
    if differ:
        raise BadConfig(
            f"a compiled module must be loaded onto the program it was compiled from, got other predictors: {', '.join(differ)}",
            mend=f"It was compiled for {', '.join(saved)}.",
        )
