"""The symbolic recipe: theorems that an independent checker confirms, each once, as many of each depth as wanted."""

from __future__ import annotations

import ast
import importlib
import itertools
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.errors import BadConfig
from stillroom.evals.proofs import confirmed, read_proof
from stillroom.evals.proofs.geometry import TOLERANCE, Geometry, _gaps, _read, figures
from stillroom.evals.verifiers import entailed
from stillroom.programs.symbolic import DOMAINS, records, symbolic_flow, symbolic_rows, theorem
from stillroom.programs.symbolic.canonical import canonical
from stillroom.programs.symbolic.figure import Geometry as Figures
from stillroom.programs.symbolic.geometry import RULES, equal
from stillroom.programs.symbolic.theorem import NotFound, written

ROOT = Path(__file__).parents[2]
SMALL = {"horn/3": 12, "horn/4": 12, "geometry/2": 10, "geometry/3": 10, "linear/1": 8, "linear/2": 12}
CHECK = confirmed()


def drawn(name: str, depth: int, seed: int) -> dict[str, Any]:
    rng = random.Random(f"{name} {depth} {seed}")
    return written(name, DOMAINS[name], theorem(DOMAINS[name], depth, rng), rng)


def claims(row: dict[str, Any]) -> tuple[list[str], str]:
    proof = read_proof(row["text"])
    return [line.claim for line in proof.given], proof.goal


@pytest.mark.acceptance("2.19 D1")
def test_horn_theorems_hold_by_truth_table_and_need_every_premise():
    """2.19, acceptance check 1: all of 500 are confirmed, and none survives the loss of any premise."""
    holds = entailed("goal", "given")
    for seed in range(500):
        given, goal = claims(drawn("horn", 2 + seed % 4, seed))
        assert holds({"given": given}, {"goal": goal}).passed
        for at in range(len(given)):
            rest = [*given[:at], *given[at + 1 :]]
            assert rest == [] or not holds({"given": rest}, {"goal": goal}).passed


@pytest.mark.acceptance("2.19 D2")
def test_geometry_holds_in_random_figures():
    """2.19, acceptance check 2: what is shown holds to 1e-9 in 5 figures, and so does every step of an accepted row."""
    seen = 0
    for seed in range(30):
        row = drawn("geometry", 2 + seed % 3, seed)
        if not CHECK({}, row).passed:
            continue
        proof = read_proof(row["text"])
        lines = [*proof.given, *proof.built, *proof.steps]
        said = [_read(line.claim) for line in lines]
        names = tuple(sorted({name for _, points in said for name in points}))
        found = figures(tuple(sorted(said[: len(proof.given) + len(proof.built)])), names, 5)
        assert found.shape == (5, len(names), 2)
        assert all((_gaps(claim, names, found) < TOLERANCE).all() for claim in said)
        seen += 1
    assert seen >= 20


@pytest.mark.acceptance("2.19 D2")
def test_a_planted_unsound_rule_is_caught():
    """2.19, acceptance check 2: with a false eleventh rule every theorem whose proof uses it is refused."""

    def planted(dag, fact):
        if fact[0] == "perp":  # segments at right angles are by no means equal
            yield equal(*fact[1:]), (fact,)

    wrong = Figures([*RULES, planted])
    refused = used = 0
    for seed in range(60):
        rng = random.Random(f"planted {seed}")
        found = theorem(wrong, 2, rng)
        if any(fact[0] == "cong" and len(parents) == 1 and parents[0][0] == "perp" for fact, parents in found.steps):
            used += 1
            try:
                refused += not CHECK({}, written("geometry", wrong, found, rng)).passed
            except NotFound:  # too short to be spoiled
                used -= 1
    assert used >= 5
    assert refused == used


def test_rows_are_exactly_those_wanted_and_confirmed(tmp_path: Path):
    """Each cell has its rows, each row passes the checker once more as it was kept, and nobody was asked."""
    emitted = symbolic_rows(tmp_path, SMALL)
    assert Counter(f"{row.values['domain']}/{row.values['depth']}" for row in emitted.rows) == SMALL
    assert emitted.shortfall == {}
    assert all(CHECK({}, row.values) == CHECK({}, row.values) and CHECK({}, row.values).passed for row in emitted.rows)
    assert {row.passport.calls for row in emitted.rows} == {0}
    assert all(any(each["by"] == "verifier" for each in row.passport.verdicts) for row in emitted.rows)
    assert all(row.gate and row.why for row in emitted.rejects)


def test_rows_are_a_function_of_the_seed(tmp_path: Path):
    """The same seed gives the same rows and rejects, another one others."""
    runs = [symbolic_rows(tmp_path / str(at), SMALL, seed=seed) for at, seed in enumerate((3, 3, 4))]
    texts = [[(row.place, row.status, row.values) for row in (*run.rows, *run.rejects)] for run in runs]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


@pytest.mark.acceptance("2.19 D3")
def test_no_two_rows_are_one_renamed(tmp_path: Path):
    """2.19, acceptance check 3: no two statements are isomorphic, found out without the canonical form."""
    networkx = pytest.importorskip("networkx")
    alike = defaultdict(list)
    for row in symbolic_rows(tmp_path, SMALL).rows:
        given, goal = claims(row.values)
        graph = statement_graph(networkx, row.values["domain"], given, goal)
        alike[networkx.weisfeiler_lehman_graph_hash(graph, node_attr="label", edge_attr="label")].append(graph)
    same = {"node_match": lambda a, b: a == b, "edge_match": lambda a, b: a == b}
    for graphs in alike.values():
        for one, two in itertools.combinations(graphs, 2):
            assert not networkx.is_isomorphic(one, two, **same)
    assert sum(map(len, alike.values())) == sum(SMALL.values())


def statement_graph(networkx: Any, domain: str, given: list[str], goal: str) -> Any:
    """A statement as a graph of claims, their sides and names, read from the text."""
    graph = networkx.Graph()
    graph.add_node("domain", label=domain)
    for number, (claim, role) in enumerate([*((each, "given") for each in given), (goal, "goal")]):
        node = f"claim {number}"
        if domain == "horn":
            body, _, head = claim.rpartition(" -> ")
            sides = [("head", [head]), ("body", body.split(" & ") if body else [])]
            word = ""
        elif domain == "linear":
            left, _, right = claim.partition(" = ")
            terms = left.replace("- ", "-").replace("+ ", "").split()
            numbers = [int({"": 1, "-": -1}.get(term[:-1], term[:-1])) for term in terms]
            # an equation and its negative are one: take the one whose sorted numbers come first
            least = min(([sign * int(right), *sorted(sign * n for n in numbers)], sign) for sign in (1, -1))
            sides = [(str(least[1] * n), [term[-1]]) for n, term in zip(numbers, terms, strict=True)]
            word = str(least[0][0])
        else:
            kind, points = _read(claim)
            pairs = [points[:2], points[2:]] if len(points) == 4 else [points]
            sides = [("side", list(pair)) for pair in pairs]
            if kind == "midp":
                sides = [("middle", [points[0]]), ("side", list(points[1:]))]
            word = kind
        graph.add_node(node, label=f"{role} {word}")
        for at, (label, names) in enumerate(sides):
            graph.add_node(f"{node} {at}", label=label)
            graph.add_edge(node, f"{node} {at}", label="has")
            for name in names:
                graph.add_node(name, label="name")
                graph.add_edge(f"{node} {at}", name, label="of")
    return graph


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([("horn", 3), ("geometry", 3), ("linear", 2)]),
    st.integers(0, 40),
    st.randoms(use_true_random=False),
)
def test_forms_do_not_depend_on_names(cell: tuple[str, int], seed: int, rng: random.Random):
    """Whatever a theorem's names are changed into, its form stays."""
    domain = DOMAINS[cell[0]]
    found = theorem(domain, cell[1], random.Random(seed))
    facts = [*found.given, found.goal]
    names = sorted({name for fact in facts for name in domain.names(fact)})
    others = dict(zip(names, rng.sample(domain.letters, len(names)), strict=True))
    forms = []
    for change in ({name: name for name in names}, others):
        new = [domain.renamed(fact, change) for fact in facts]
        value = (frozenset(map(domain.form, new[:-1])), domain.form(new[-1]))
        forms.append(canonical(value, change.values()))
    assert forms[0] == forms[1]


def test_symmetric_statements_are_told_from_others():
    """Where every name has the same neighbours, the form still tells one ring of six from two rings of three."""

    def ring(*names: str) -> set[tuple[str, frozenset[str]]]:
        return {("r", frozenset(pair)) for pair in zip(names, (*names[1:], names[0]), strict=True)}

    six, threes = frozenset(ring(*"abcdef")), frozenset(ring(*"abc") | ring(*"def"))
    assert canonical(six, "abcdef") == canonical(frozenset(ring(*"badcfe")), "abcdef")
    assert canonical(six, "abcdef") != canonical(threes, "abcdef")


def test_records_are_what_trainers_read(tmp_path: Path):
    """`text`, `steps` with a corrupted copy of each, and `verifiable`, each with its papers."""
    rows = symbolic_rows(tmp_path, {"horn/3": 3, "linear/2": 2}).rows
    assert [record.text for record in records(rows, "text")] == [row.values["text"] for row in rows]
    steps = list(records(rows, "steps"))
    assert [all(record.labels) for record in steps] == [True, False] * 5
    assert all(len(record.labels) == len(record.completions) for record in steps)
    assert [record.solution for record in records(rows, "verifiable")] == [
        row.values["verifiable"]["solution"] for row in rows
    ]
    assert [record.meta.rows[0]["place"] for record in steps] == [row.place for row in rows for _ in range(2)]
    with pytest.raises(BadConfig, match="schema must be text, steps or verifiable, got 'chat'"):
        next(records(rows, "chat"))


@pytest.mark.parametrize("cell", ["horn", "horn/0", "chess/2", "linear/x"])
def test_cells_that_cannot_be_are_refused(cell: str):
    """A cell is a domain and a depth; anything else is said before a row is drawn."""
    with pytest.raises(BadConfig, match="cells must be one of"):
        symbolic_flow({cell: 1})


def test_checker_and_prover_share_no_code():
    """No file of the checkers imports the prover, and of the prover's only the recipe imports the checkers."""

    def imported(path: Path) -> set[str]:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        return {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}

    for path in (ROOT / "evals" / "proofs").glob("*.py"):
        assert not any(module.startswith("stillroom.programs") for module in imported(path))
    using = [p.name for p in (ROOT / "programs" / "symbolic").glob("*.py") if "stillroom.evals.proofs" in imported(p)]
    assert using == ["recipe.py"]


def test_a_figure_is_no_theorem():
    """The checker refuses what holds in special figures only."""
    follows = Geometry().follows
    assert follows(["M is the midpoint of AB", "CM is perpendicular to AB"], "AC = BC")
    assert not follows(["M is the midpoint of AB"], "AC = BC")
    with pytest.raises(ValueError, match="no figure of distinct points"):
        follows(["M is the midpoint of AB", "M is the midpoint of AC"], "BC is parallel to AB")


# mutants that are no worse than the row: the changed line follows from what it now cites just as well
EQUALLY_RIGHT = {"citation changed", "goal changed"}


def test_mutants_are_refused(monkeypatch: pytest.MonkeyPatch):
    """One thing changed and all else rewritten to match: refused, save where the change makes another true theorem."""
    monkeypatch.syspath_prepend(str(ROOT))
    mutation = importlib.import_module("benchmarks._proof_mutants")
    made: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for (name, depth), seed in itertools.product((("horn", 4), ("geometry", 3), ("linear", 2)), range(12)):
        row = drawn(name, depth, seed)
        if not CHECK({}, row).passed:
            continue
        for kind, mutant in mutation.mutants(row, random.Random(seed)):
            made[kind] += 1
            passed[kind] += CHECK({}, mutant).passed
    assert set(made) == set(mutation.KINDS)
    assert min(made.values()) >= 15
    assert all(count == 0 or kind in EQUALLY_RIGHT for kind, count in passed.items())
    assert passed.total() <= 0.02 * made.total()


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Horn clauses", "Plane geometry, named points distinct", "the title is not 'Horn clauses'"),
        ("\n1. ", "\n2. ", "line 1 is not"),
        (" [", " [construct", "the text cannot be read"),
        ("\nProof:", "\nProof:\nas anybody can see", "the text cannot be read"),
        ("Show: ", "Show: not ", "the last step is not what is to be shown"),
    ],
)
def test_texts_out_of_form_are_refused(old: str, new: str, why: str):
    """A text that is no proof is a row that fails, with the place, and never an exception."""
    row = drawn("horn", 3, 1)
    found = CHECK({}, {**row, "text": row["text"].replace(old, new)})
    assert not found.passed
    assert why in found.why


@pytest.mark.parametrize("field", ["domain", "depth", "text", "steps", "corrupted", "verifiable"])
@pytest.mark.parametrize("value", [None, 7, "", [], {}, {"prompt": "p", "completions": 2, "labels": 3}, True])
def test_strange_rows_never_raise(field: str, value: object):
    """Whatever stands in a field, there is a verdict, and it is no pass."""
    found = CHECK({}, {**drawn("horn", 3, 1), field: value})
    assert found.verified
    assert not found.passed


def test_the_page_shows_rows_that_are_emitted(tmp_path: Path):
    """The three rows of docs/symbolic.md come out of the recipe, letter by letter."""
    page = (ROOT / "docs" / "symbolic.md").read_text(encoding="utf-8")
    rows = symbolic_rows(tmp_path, {"horn/5": 1, "geometry/4": 1, "linear/3": 1}, seed=7).rows
    assert [f"```text\n{row.values['text']}\n```" in page for row in rows] == [True] * 3
