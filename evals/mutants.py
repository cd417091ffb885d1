"""One-operator mutants of a Python function: each differs from it in a single comparison, operator or constant."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

__all__ = ["mutants"]

_SWAPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}


def mutants(source: str, function: str) -> Iterator[tuple[str, str]]:
    """Yield (what was changed, source) for every change of one operator in `function`."""
    tree = ast.parse(source)
    for place, node in enumerate(ast.walk(tree)):
        for what, attribute, value in _changes(node):
            changed = copy.deepcopy(tree)
            target = next(each for i, each in enumerate(ast.walk(changed)) if i == place)
            if not _within(changed, target, function):
                continue
            setattr(target, attribute, value)
            yield f"line {getattr(node, 'lineno', 0)}: {what}", ast.unparse(ast.fix_missing_locations(changed))


def _changes(node: ast.AST) -> Iterator[tuple[str, str, object]]:
    if isinstance(node, ast.Compare):
        for i, old in enumerate(node.ops):
            for new in _SWAPS.get(type(old), ()):
                yield _named(old, new), "ops", [*node.ops[:i], new(), *node.ops[i + 1 :]]
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign):
        for new in _SWAPS.get(type(node.op), ()):
            yield _named(node.op, new), "op", new()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not dropped", "operand", ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} to {not node.value}", "value", not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        for step in (1, -1):
            yield f"{node.value} to {node.value + step}", "value", node.value + step


def _named(old: ast.AST, new: type) -> str:
    return f"{type(old).__name__} to {new.__name__}"


def _within(tree: ast.Module, target: ast.AST, function: str) -> bool:
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    return any(each is target for node in found for each in ast.walk(node))
