"""stillroom: declare, compile, emit, distil, prove.

Everything here is imported when it is first used, so that `import stillroom` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillroom import errors as errors
    from stillroom.engines import Engine as Engine
    from stillroom.engines import Price as Price
    from stillroom.engines import open_engine as open_engine
    from stillroom.evals import Verdict as Verdict
    from stillroom.evals import evaluate as evaluate
    from stillroom.evals import exact as exact
    from stillroom.evals import expression as expression
    from stillroom.evals import fields as fields
    from stillroom.evals import gates as gates
    from stillroom.evals import normalised as normalised
    from stillroom.evals import numeric as numeric
    from stillroom.ledger import Budget as Budget
    from stillroom.optimizers import Program as Program
    from stillroom.optimizers import Settings as Settings
    from stillroom.optimizers import Student as Student
    from stillroom.optimizers import compile as compile
    from stillroom.optimizers import load_program as load_program
    from stillroom.optimizers import load_student as load_student
    from stillroom.optimizers import prove as prove
    from stillroom.optimizers.distil import distil as distil
    from stillroom.optimizers.sweep import Sweep as Sweep
    from stillroom.optimizers.teleprompt import Compile as Compile
    from stillroom.optimizers.teleprompt import load_module as load_module
    from stillroom.programs import Plan as Plan
    from stillroom.programs import answer as answer
    from stillroom.programs import recipes as recipes
    from stillroom.release import Override as Override
    from stillroom.release import Purpose as Purpose
    from stillroom.signatures import Input as Input
    from stillroom.signatures import Output as Output
    from stillroom.signatures import Signature as Signature
    from stillroom.signatures import Task as Task

_HOME = {
    "Budget": "ledger",
    "Compile": "optimizers.teleprompt",
    "Engine": "engines",
    "Input": "signatures",
    "Output": "signatures",
    "Override": "release",
    "Plan": "programs",
    "Price": "engines",
    "Program": "optimizers",
    "Purpose": "release",
    "Settings": "optimizers",
    "Signature": "signatures",
    "Student": "optimizers",
    "Sweep": "optimizers.sweep",
    "Task": "signatures",
    "Verdict": "evals",
    "answer": "programs",
    "compile": "optimizers",
    "distil": "optimizers",
    "errors": "",
    "evaluate": "evals",
    "exact": "evals",
    "expression": "evals",
    "fields": "evals",
    "gates": "evals",
    "load_module": "optimizers.teleprompt",
    "load_program": "optimizers",
    "load_student": "optimizers",
    "normalised": "evals",
    "numeric": "evals",
    "open_engine": "engines",
    "prove": "optimizers",
    "recipes": "programs",
}

__all__ = [
    "Budget",
    "Compile",
    "Engine",
    "Input",
    "Output",
    "Override",
    "Plan",
    "Price",
    "Program",
    "Purpose",
    "Settings",
    "Signature",
    "Student",
    "Sweep",
    "Task",
    "Verdict",
    "answer",
    "compile",
    "distil",
    "errors",
    "evaluate",
    "exact",
    "expression",
    "fields",
    "gates",
    "load_module",
    "load_program",
    "load_student",
    "normalised",
    "numeric",
    "open_engine",
    "prove",
    "recipes",
]


def __getattr__(name: str) -> Any:
    """Fetch a public name from the folder it lives in."""
    if name not in _HOME:
        raise AttributeError(f"module 'stillroom' has no attribute {name!r}")
    home = _HOME[name]
    # modules are public names too: `stillroom.gates`, `stillroom.recipes`
    if name in ("gates", "recipes", "errors"):
        return import_module(f"stillroom.{home}.{name}" if home else f"stillroom.{name}")
    return getattr(import_module(f"stillroom.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
