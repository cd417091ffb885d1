"""The search as a DSPy `Teleprompter`, for modules with any number of predictors. Importing this imports DSPy."""

from __future__ import annotations

from .module_plan import Compilation, apply_choices, load_module
from .modules import ModuleSubject
from .teleprompter import Compile

__all__ = ["Compilation", "Compile", "ModuleSubject", "apply_choices", "load_module"]
