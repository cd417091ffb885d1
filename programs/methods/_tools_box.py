"""Tools that are run here: a calculator, Python in the sandbox, a search over the user's own texts, the user's functions.

Nothing that a model writes is run but in the sandbox; the calculator parses and walks sums, the search is SQLite's.
"""

from __future__ import annotations

import ast
import json
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import words
from stillroom.evals.verifiers import evaluate, tool_calls
from stillroom.values import digest

from ._running import run_pieces

__all__ = ["Done", "Search", "Tool", "Toolbox", "calculator", "called", "mined", "python", "written"]

_KINDS = {"int": "integer", "float": "number", "str": "string", "bool": "boolean", "list": "array", "dict": "object"}


@dataclass(frozen=True)
class Tool:
    """Something that can be called.

    Attributes:
        name: As calls name it.
        about: What it does, for the model.
        parameters: JSON schema of its arguments.
        run: From arguments to the text of its result. Raises ValueError for what it cannot do.
    """

    name: str
    about: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any]], str]

    @property
    def schema(self) -> dict[str, Any]:
        """As records of schema `tool`, and OpenAI's interface, have it."""
        function = {"name": self.name, "description": self.about, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Done:
    """A call that was made: what came of it, or why nothing did."""

    name: str
    arguments: Mapping[str, Any]
    output: str = ""
    fault: str = ""
    unfit: bool = False

    @property
    def call(self) -> str:
        """Hash of what was called."""
        return called(self.name, self.arguments)

    @property
    def result(self) -> str:
        """Hash of what came of it."""
        return digest(self.output)


class Toolbox:
    """Tools by name, with the check of calls against their schemas.

    Raises:
        BadConfig: If there are none, or two have one name.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = {each.name: each for each in tools}
        if not tools or len(self.tools) < len(tools):
            raise BadConfig(f"tools must have names of their own, got {[each.name for each in tools]}")
        self._fits = tool_calls("call", {each.name: each.parameters for each in tools})

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """Of all tools, in their order."""
        return [each.schema for each in self.tools.values()]

    @property
    def about(self) -> str:
        """All tools in plain words, a line each."""
        return "\n".join(
            f"{each.name}({', '.join(_told(each.parameters))}): {each.about}" for each in self.tools.values()
        )

    @property
    def calls(self) -> dict[str, Any]:
        """JSON schema of a list of calls that fit: what decoding is constrained by where an engine can.

        Arguments that a tool has a default for are asked for too: a schema without anything optional is one that all
        engines take, and the only one that leaves them one way to lay it out.
        """
        fits = [
            _closed({"name": {"const": each.name}, "arguments": _closed(each.parameters.get("properties", {}))})
            for each in self.tools.values()
        ]
        return {"type": "array", "items": {"anyOf": fits}}

    def call(self, name: str, arguments: str | Mapping[str, Any]) -> Done:
        """Check a call and make it. What is wrong with it is told in the result; nothing is raised."""
        found = self._fits({}, {"call": {"name": name, "arguments": arguments}})
        if not found.passed:
            return Done(name, _settled(arguments), fault=found.why, unfit=True)
        settled = _settled(arguments)
        try:
            return Done(name, settled, self.tools[name].run(settled))
        except ValueError as error:
            return Done(name, settled, fault=str(error))


def called(name: str, arguments: str | Mapping[str, Any]) -> str:
    """Hash of a call, however its arguments are written."""
    return digest([name, _settled(arguments)])


def _settled(arguments: str | Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as an object; a text that is none as its only one."""
    if isinstance(arguments, Mapping):
        return dict(arguments)
    try:
        found = json.loads(arguments)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"text": arguments}


def _object(**properties: tuple[str, str]) -> dict[str, Any]:
    """JSON schema of arguments, all of them needed, by name: type and what it is."""
    fields = {name: {"type": kind, "description": about} for name, (kind, about) in properties.items()}
    return {"type": "object", "properties": fields, "required": list(fields)}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an object with these properties and nothing else."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _told(parameters: Mapping[str, Any]) -> list[str]:
    """Arguments with their types, as in "items: integer"."""
    return [f"{name}: {kind.get('type', 'any')}" for name, kind in parameters.get("properties", {}).items()]


def written(value: Any) -> str:
    """A number as people write it: whole, or with its decimals where they end, else to twelve digits.

    >>> from fractions import Fraction
    >>> written(Fraction(7, 2)), written(Fraction(6)), written(Fraction(1, 3))
    ('3.5', '6', '0.333333333333')
    """
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.12g}"


def calculator() -> Tool:
    """Sums, worked out exactly."""

    def run(arguments: Mapping[str, Any]) -> str:
        return written(evaluate(arguments["expression"]))

    about = "Works out a sum of numbers with + - * / and parentheses."
    return Tool("calculator", about, _object(expression=("string", "the whole sum, in figures alone")), run)


def python() -> Tool:
    """Python in the sandbox: what the code prints."""

    def run(arguments: Mapping[str, Any]) -> str:
        printed = run_pieces([arguments["code"]])
        if printed.fault:
            raise ValueError(f"the code fails: {printed.fault}")
        return printed.outputs[0]

    about = "Runs Python without network or files and gives what it prints."
    return Tool("python", about, _object(code=("string", "the code; it prints what is wanted")), run)


class Search:
    """BM25 over texts held in memory, by SQLite's FTS5 (k1 = 1.2, b = 0.75; titles count as text)."""

    def __init__(self, documents: Sequence[Mapping[str, Any]], most: int = 3) -> None:
        """Index `documents`, each with `text` and perhaps `title`; a search gives `most` of them."""
        self._most, self._lock = most, threading.Lock()
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        self._index.execute("CREATE VIRTUAL TABLE texts USING fts5(title, text, tokenize = 'porter unicode61')")
        rows = ((str(each.get("title") or ""), str(each["text"])) for each in documents)
        self._index.executemany("INSERT INTO texts VALUES (?, ?)", rows)

    def find(self, query: str) -> list[dict[str, str]]:
        """The texts that fit best, best first; none for a query without words."""
        # quoted, so that nothing in it is taken for the syntax of queries
        asked = " OR ".join(f'"{word}"' for word in dict.fromkeys(words(query)))
        if not asked:
            return []
        with self._lock:
            found = self._index.execute(
                "SELECT title, text FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid LIMIT ?",
                (asked, self._most),
            ).fetchall()
        return [{"title": title, "text": text} for title, text in found]

    def tool(self) -> Tool:
        """It as a tool."""

        def run(arguments: Mapping[str, Any]) -> str:
            return json.dumps(self.find(arguments["query"]), ensure_ascii=False)

        about = "Searches a collection of texts and gives those that fit best."
        return Tool("search", about, _object(query=("string", "words that the text should have")), run)


def mined(code: str) -> Tool | None:
    """A function of the user's as a tool, called in the sandbox; None where it cannot be told how to call it.

    Read and never run here: the first function at the top that has a docstring and types for all of its arguments.
    """
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        about, given = ast.get_docstring(node), node.args
        if not about or given.vararg or given.kwarg or given.posonlyargs or given.kwonlyargs:
            continue
        kinds = {each.arg: _kind(each.annotation) for each in given.args}
        if all(kinds.values()):
            return _as_tool(code, node, about, kinds)
    return None


def _as_tool(code: str, node: ast.FunctionDef, about: str, kinds: Mapping[str, dict[str, Any] | None]) -> Tool:
    needed = [each.arg for each in node.args.args][: len(node.args.args) - len(node.args.defaults)]
    parameters = {"type": "object", "properties": dict(kinds), "required": needed}
    call = (
        "import json as _json\nwith open('arguments.json', encoding='utf-8') as _file:\n    _given = _json.load(_file)\n"
        f"print(_json.dumps({node.name}(**_given)))"
    )

    def run(arguments: Mapping[str, Any]) -> str:
        printed = run_pieces([code, call], files={"arguments.json": json.dumps(dict(arguments))})
        if printed.fault:
            raise ValueError(f"{node.name} fails: {printed.fault}")
        return printed.outputs[1]

    return Tool(node.name, about.strip(), parameters, run)


def _kind(annotation: ast.expr | None) -> dict[str, Any] | None:
    if isinstance(annotation, ast.Name) and annotation.id in _KINDS:
        return {"type": _KINDS[annotation.id]}
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id == "list" and (items := _kind(annotation.slice)):
            return {"type": "array", "items": items}
        return {"type": "object"} if annotation.value.id == "dict" else None
    return None
