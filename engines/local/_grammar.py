"""From a JSON schema to a grammar that leaves one way to lay the JSON out.

Constrained decoding by the schema itself lets the model put any white space between tokens: small
models fill their budget with it, larger ones put every comma on a line of its own. The grammar below
allows what `json.dumps` prints, with `, ` and `: `. Schemas with words it does not know (patterns,
optional properties) are left to the library's own compiler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["OBJECT", "grammar_of"]

Schema = Mapping[str, Any]

# Everything below refers to these. A text is a recursion, not a repetition: the same language, but its
# masks are found in the library's cache, which made free text ten times as fast (47 to 447 tokens/s). Depth and length are the model's affair; digits are bounded,
# since a small model will repeat one for as long as it is let.
JSON_RULES = r"""
str ::= "\"" chars
chars ::= "\"" | [^"\\\x00-\x1f] chars | "\\" escaped chars
escaped ::= ["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F]
int ::= "-"? ("0" | [1-9] [0-9]{0,17})
num ::= int ("." [0-9]{1,17})? ([eE] [-+]? [0-9]{1,3})?
bool ::= "true" | "false"
obj ::= "{" (str ": " any (", " str ": " any)*)? "}"
arr ::= "[" (any (", " any)*)? "]"
any ::= str | num | bool | "null" | obj | arr
"""

OBJECT = "root ::= obj" + JSON_RULES  # any one JSON object

SPOKEN = {"title", "description", "default", "examples", "$schema", "$defs", "definitions", "deprecated", "readOnly"}
PLAIN = {"integer": "int", "number": "num", "boolean": "bool", "null": '"null"', "string": "str"}
WIDEST_RANGE = 200  # integers from minimum to maximum are listed one by one


class _Unknown(Exception):
    """The schema says something that this module cannot put into a grammar."""


def grammar_of(schema: Schema) -> str | None:
    r"""Give an EBNF grammar for `schema`, or None if a word in it is not known here.

    Properties come in the order of the schema and all of them must be required. `format` is not
    enforced: whoever reads the answer validates it.

    >>> print(grammar_of({"enum": ["a", 1]}).splitlines()[0])
    root ::= ("\"a\"" | "1")
    """
    rules: dict[str, str] = {}
    try:
        root = _rule(schema, schema, rules)
    except _Unknown:
        return None
    return f"root ::= {root}{JSON_RULES}" + "\n".join(f"{name} ::= {body}" for name, body in rules.items())


def _rule(schema: Any, root: Schema, rules: dict[str, str]) -> str:
    if schema is True or schema == {}:
        return "any"
    if not isinstance(schema, Mapping):
        raise _Unknown
    words = {word: value for word, value in schema.items() if word not in SPOKEN}
    if "$ref" in words:
        return _reference(words, root, rules)
    for listed in ("enum", "const"):
        if listed in words:
            return _listed(words[listed] if listed == "enum" else [words[listed]])
    for several in ("anyOf", "oneOf"):
        if several in words:
            _only(words, {several, "type"})
            return "(" + " | ".join(_rule(choice, root, rules) for choice in words[several]) + ")"
    kind = words.pop("type", None)
    if isinstance(kind, list):
        return "(" + " | ".join(_rule({**words, "type": one}, root, rules) for one in kind) + ")"
    return _typed(kind, words, root, rules)


def _typed(kind: Any, words: dict[str, Any], root: Schema, rules: dict[str, str]) -> str:
    if kind == "object":
        return _object(words, root, rules)
    if kind == "array":
        return _array(words, root, rules)
    if kind == "string":
        words.pop("format", None)
    if kind == "integer" and {"minimum", "maximum"} <= words.keys():
        low, high = words.pop("minimum"), words.pop("maximum")
        if not isinstance(low, int) or not isinstance(high, int) or not 0 <= high - low < WIDEST_RANGE:
            raise _Unknown
        _only(words, set())
        return _listed(list(range(low, high + 1)))
    if kind not in PLAIN:
        raise _Unknown
    _only(words, set())
    return PLAIN[kind]


def _object(words: dict[str, Any], root: Schema, rules: dict[str, str]) -> str:
    _only(words, {"properties", "required", "additionalProperties"})
    properties, free = words.get("properties", {}), words.get("additionalProperties", False)
    if not properties:
        pair = f'str ": " {_rule(free if "additionalProperties" in words else True, root, rules)}'
        return '"{}"' if words.get("additionalProperties") is False else f'("{{" ({pair} (", " {pair})*)? "}}")'
    if free is not False or set(words.get("required", ())) != set(properties):
        raise _Unknown
    pairs = [
        f"{_literal(json.dumps(name, ensure_ascii=False) + ': ')} {_rule(value, root, rules)}"
        for name, value in properties.items()
    ]
    return '("{" ' + ' ", " '.join(pairs) + ' "}")'


def _array(words: dict[str, Any], root: Schema, rules: dict[str, str]) -> str:
    _only(words, {"items", "minItems", "maxItems"})
    item = _rule(words.get("items", True), root, rules)
    least, most = words.get("minItems", 0), words.get("maxItems")
    if most == 0:
        return '"[]"'
    rest = f'(", " {item}){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
    return f'("[" {item} {rest} "]")' if least else f'("[" ({item} {rest})? "]")'


def _reference(words: dict[str, Any], root: Schema, rules: dict[str, str]) -> str:
    _only(words, {"$ref"})
    place, _, name = str(words["$ref"]).rpartition("/")
    if place not in {"#/$defs", "#/definitions"} or name not in root.get(place[2:], {}):
        raise _Unknown
    rule = "def" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name)
    if rule not in rules:
        rules[rule] = ""  # a schema that contains itself ends here
        rules[rule] = _rule(root[place[2:]][name], root, rules)
    return rule


def _listed(values: list[Any]) -> str:
    if not values:
        raise _Unknown
    return "(" + " | ".join(_literal(json.dumps(value, ensure_ascii=False)) for value in values) + ")"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _only(words: Mapping[str, Any], known: set[str]) -> None:
    if words.keys() - known:
        raise _Unknown
