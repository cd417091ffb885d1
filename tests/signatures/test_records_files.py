"""Records as files: everything comes back from each kind, papers above all, in bounded memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records_world import FIELDS, row

from stillroom.errors import BadConfig, BadData
from stillroom.signatures.records import SCHEMAS, Record, build, read_records, write_folder, write_jsonl, write_parquet

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, PLAIN, max_size=3)
ASK = st.builds(
    lambda system, user: [*({"role": "system", "content": each} for each in system), {"role": "user", "content": user}],
    st.lists(TEXT, max_size=1),
    TEXT,
)
SAY = TEXT.map(lambda text: [{"role": "assistant", "content": text}])
ASIDE = st.none() | TEXT


def tool(name: str, arguments: dict, more: dict, said: str) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    tool = {"type": "function", "function": {"name": name, "parameters": more}}
    turns = [{"role": "user", "content": said}, {"role": "assistant", "tool_calls": [call]}]
    return {"messages": [*turns, {"role": "tool", "name": name, "content": said}], "tools": [tool]}


STRATEGIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "sft": st.fixed_dictionaries({"prompt": ASK, "completion": SAY}),
    "chat": st.builds(lambda ask, say: {"messages": [*ask, *say, *ask[-1:], *say]}, ASK, SAY),
    "pref": st.builds(
        lambda ask, text, p, scores: {
            "prompt": ask, "chosen": text, "rejected": f"not {text}", "p_chosen": p,
            "score_chosen": scores and max(scores), "score_rejected": scores and min(scores),
        },
        ASK, TEXT, st.none() | st.floats(0, 1), st.none() | st.tuples(FLOAT, FLOAT),
    ),
    "rank": st.builds(
        lambda ask, texts, score: {"prompt": ask, "responses": [{"completion": each, "score": score} for each in texts]},
        ASK, st.lists(TEXT, min_size=2, max_size=4, unique=True), st.none() | FLOAT,
    ),
    "unpaired": st.fixed_dictionaries({"prompt": ASK, "completion": SAY, "label": st.booleans()}),
    "steps": st.builds(
        lambda ask, steps: {"prompt": ask, "completions": [a for a, _ in steps], "labels": [b for _, b in steps]},
        TEXT, st.lists(st.tuples(TEXT, st.booleans()), min_size=1, max_size=4),
    ),
    "critique": st.fixed_dictionaries(
        {
            **dict.fromkeys(("instruction", "response", "rubric", "feedback"), TEXT),
            "score": st.integers(-9, 9), "reference": ASIDE, "revision": ASIDE,
        }
    ),
    "attr": st.fixed_dictionaries(
        {"prompt": ASK, "response": SAY, "attributes": st.dictionaries(TEXT, st.integers(0, 4), min_size=1, max_size=3)}
    ),
    "tool": st.builds(tool, TEXT, OBJECT, OBJECT, TEXT),
    "text": st.fixed_dictionaries({"text": TEXT}),
    "label": st.fixed_dictionaries(
        {"text": TEXT, "label": TEXT | st.integers(), "probs": st.none() | st.floats(0, 1).map(lambda p: [p, 1 - p])}
    ),
    "verifiable": st.fixed_dictionaries({"prompt": ASK, "solution": TEXT, "tests": st.none() | st.lists(TEXT, min_size=1)}),
    "audit": st.fixed_dictionaries({"values": OBJECT, "status": TEXT, "gate": st.just(""), "why": TEXT}),
}  # fmt: skip
WAYS = {
    "jsonl": lambda records, name, path: write_jsonl(records, path / "all.jsonl"),
    "parquet": lambda records, name, path: write_parquet(records, name, path / "all.parquet"),
    "folder": lambda records, name, path: write_folder(records, name, path / "all"),
}


def back(records: list[Record], name: str, way: str, path: Path) -> list[Record]:
    assert WAYS[way](iter(records), name, path) == len(records)
    (written,) = path.iterdir()  # and nothing is left beside it
    return list(read_records(written, name))


def as_json(records: list[Record]) -> list[dict]:
    return [each.as_json() for each in records]


def test_strategies_cover_the_schemas():
    """Each of them."""
    assert set(STRATEGIES) == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_everything_comes_back(name: str, tmp_path_factory, data):
    """Fields and papers, from each kind of file, to the last digit."""
    fields = data.draw(st.lists(STRATEGIES[name], min_size=1, max_size=3))
    records = [build(SCHEMAS[name], row(each, f"x/{n}/0"), seed=n) for n, each in enumerate(fields)]
    for way in WAYS:
        found = back(records, name, way, tmp_path_factory.mktemp("records"))
        assert as_json(found) == as_json(records), way


@pytest.mark.parametrize("name", SCHEMAS)
def test_datasets_reads_what_is_written(name: str, tmp_path: Path):
    """`load_dataset` and `load_from_disk` give the fields; `meta` is the papers as JSON text."""
    record = build(SCHEMAS[name], row(FIELDS[name]))
    write_parquet([record], name, tmp_path / "all.parquet")
    write_folder([record], name, tmp_path / "all")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "all.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    for found in (loaded[0], datasets.load_from_disk(str(tmp_path / "all"))[0]):
        assert json.loads(found.pop("meta")) == record.meta.as_json()
        assert without_none(found) == without_none(record.fields())


def without_none(value: Any) -> Any:
    """Tables have None where a key is absent."""
    if isinstance(value, dict):
        return {key: without_none(each) for key, each in value.items() if each is not None}
    return (
        [without_none(each) for each in value]
        if isinstance(value, list)
        else pytest.approx(value)
        if isinstance(value, float)
        else value
    )


def test_papers_that_are_lost_are_missed(tmp_path: Path):
    """A table without them is no table of records."""
    write_parquet([build(SCHEMAS["text"], row(FIELDS["text"]))], "text", tmp_path / "all.parquet")
    table = datasets.Dataset.from_parquet(str(tmp_path / "all.parquet"), cache_dir=str(tmp_path / "cache"))
    table.remove_columns("meta").to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(BadData, match=r"row 1 of bare.parquet must be a record of schema 'text'[^$]*meta: "):
        list(read_records(tmp_path / "bare.parquet", "text"))


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_leaves_nothing(way: str, tmp_path: Path):
    """The file is whole or not there."""

    def breaks():
        yield build(SCHEMAS["text"], row(FIELDS["text"]))
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        WAYS[way](breaks(), "text", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused(tmp_path: Path):
    """A folder that is there, records of two schemas in one table, a folder that is no dataset."""
    records = [build(SCHEMAS[name], row(FIELDS[name])) for name in ("text", "sft")]
    with pytest.raises(BadData, match="one schema, 'text', got one of 'sft'"):
        write_parquet(records, "text", tmp_path / "all.parquet")
    with pytest.raises(BadConfig, match="must be new"):
        write_folder(records[:1], "text", tmp_path)
    with pytest.raises(BadData, match="must be a dataset folder"):
        list(read_records(tmp_path, "text"))


@pytest.mark.parametrize("way", WAYS)
def test_memory_does_not_grow_with_records(way: str, tmp_path: Path):
    """Six thousand records need no more than two thousand."""

    def peak(count: int) -> int:
        record = build(SCHEMAS["sft"], row(FIELDS["sft"]))
        folder = tmp_path / str(count)
        tracemalloc.start()
        WAYS[way]((record for _ in range(count)), "sft", folder)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)  # imports
    few = peak(2000)
    assert peak(6000) < 1.5 * few + 1_000_000
