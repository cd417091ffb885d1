"""Records: what each schema takes and refuses, what is made of rows, of rejects and of other records."""

from __future__ import annotations

from random import Random

import pytest
from records_world import ADD, ASK, FIELDS, MODEL, SAY, row

from stillroom.errors import BadConfig, BadData
from stillroom.signatures.records import (
    SCHEMAS,
    Meta,
    as_sft,
    as_trl,
    audits,
    best_vs_random,
    build,
    build_all,
    meta_of,
    pairs,
    preferences,
    schema,
    trl_schema,
    unpaired,
)


def made(name: str, **changes):
    return build(SCHEMAS[name], row({**FIELDS[name], **changes}))


def test_the_schemas_are_those_that_are_promised():
    """Twelve for trainers, one for people."""
    assert sorted(FIELDS) == sorted(SCHEMAS)
    assert len(SCHEMAS) == 13


@pytest.mark.parametrize("name", FIELDS)
def test_each_schema_both_ways(name: str):
    """A record is what its JSON says, and the other way round."""
    record = made(name)
    again = SCHEMAS[name].from_json(record.as_json())
    assert again == record
    assert again.as_json() == record.as_json()
    assert set(record.as_json()) == {*FIELDS[name], "meta"}


@pytest.mark.parametrize("name", FIELDS)
def test_each_schema_carries_the_papers_of_its_row(name: str):
    """Whole: what the row says of itself but its values, and what follows from that."""
    source = row(FIELDS[name])
    meta = build(SCHEMAS[name], source, seed=5, round=2).meta
    papers = source.as_json()
    del papers["values"]
    assert meta.rows[0] == {
        **papers,
        "passport": {**papers["passport"], "parents": ["demo1", "demo2"], "verdicts": list(source.passport.verdicts)},
    }
    assert (meta.models, meta.licence, meta.calls, meta.tokens) == ((MODEL,), "Apache-2.0", 2, 30)
    assert (meta.level, meta.seed, meta.round) == (5, 5, 2)
    assert len(meta.id) == 16


def test_the_id_is_of_what_the_record_says_alone():
    """Other papers, same id; other words or another schema, another."""
    one = build(SCHEMAS["sft"], row(FIELDS["sft"]))
    assert build(SCHEMAS["sft"], row(FIELDS["sft"], "y/1/1"), round=3).meta.id == one.meta.id
    assert made("sft", completion="five").meta.id != one.meta.id
    assert len({made(name).meta.id for name in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize(
    ("name", "changes", "rule"),
    [
        ("sft", {"prompt": "  "}, "must not be blank, got '  '"),
        ("sft", {"prompt": SAY}, "must end with the user's turn, not the assistant's"),
        ("sft", {"prompt": []}, "at least 1 item"),
        ("sft", {"prompt": [*ASK[::-1], ASK[1]]}, "a system message must be the first one"),
        ("sft", {"completion": ASK}, "must begin and end with the assistant's turn"),
        ("sft", {"completion": [{"role": "tool", "content": "x"}]}, "got 'tool'"),
        ("sft", {"completion": [{**SAY[0], "mood": "good"}]}, "completion.0.mood"),
        ("chat", {"messages": ASK}, "must end with the assistant's turn, not the user's"),
        ("pref", {"rejected": SAY}, "chosen and rejected must differ"),
        ("pref", {"p_chosen": 1.2}, "less than or equal to 1, got 1.2"),
        ("pref", {"score_chosen": 0.5}, "chosen must not score below rejected, got 0.5 and 1.0"),
        ("pref", {"score_chosen": float("nan")}, "finite"),
        ("rank", {"responses": [{"completion": "four"}]}, "at least 2 items"),
        ("rank", {"responses": [{"completion": "four"}, {"completion": "four"}]}, "responses must differ"),
        ("rank", {"responses": FIELDS["rank"]["responses"][::-1]}, "best first, got the scores [2.5, 9.0]"),
        ("unpaired", {"label": "yes"}, "label: Input should be a valid boolean, got 'yes'"),
        ("steps", {"labels": [True]}, "each step needs a label, got 2 and 1"),
        ("steps", {"labels": [1, 0]}, "valid boolean, got 1"),
        ("critique", {"score": 4.5}, "valid integer, got 4.5"),
        ("critique", {"score": True}, "valid integer, got True"),
        ("attr", {"attributes": {}}, "at least 1 item"),
        ("attr", {"attributes": {"quality": "4"}}, "attributes.quality"),
        ("tool", {"tools": [{**ADD, "function": {"name": "sub"}}]}, "must name one of the tools ['sub'], got ['add']"),
        ("tool", {"tools": [{"name": "add"}]}, "must be {'type': 'function'"),
        ("tool", {"messages": [*ASK, {"role": "tool", "content": "four"}]}, "must follow a call"),
        ("tool", {"messages": [*ASK, {"role": "assistant"}]}, "content must not be blank where no tool is called"),
        ("tool", {"tools": [{**ADD, "x": 2**64}]}, "integers must fit 64 bits"),
        ("text", {"text": ""}, "must not be blank"),
        ("text", {"text": "half \ud800"}, "surrogates not allowed"),
        ("label", {"probs": [0.5, 0.6]}, "probs must add up to 1, got 1.1"),
        ("label", {"label": 1.5}, "valid string, got 1.5"),
        ("audit", {"values": {"x": float("inf")}}, "numbers must be finite"),
    ],
)
def test_what_breaks_a_rule_is_refused(name: str, changes: dict, rule: str):
    """With the rule and the value, and which row it was."""
    with pytest.raises(BadData, match="row id-x/0/0 at x/0/0 must be a record of schema") as caught:
        made(name, **changes)
    assert rule.casefold() in str(caught.value).casefold()
    assert caught.value.mend.startswith("Fields of ")


def test_something_to_check_by_is_needed():
    """A solution or tests."""
    only = {"prompt": "two"}
    assert build(SCHEMAS["verifiable"], row({**only, "tests": ["x"]})).solution is None
    with pytest.raises(BadData, match="needs a solution or tests, got neither"):
        build(SCHEMAS["verifiable"], row(only))


def test_all_broken_rules_are_told_at_once():
    """Not the first one."""
    with pytest.raises(BadData) as caught:
        build(SCHEMAS["critique"], row({"score": "high"}))
    assert len(caught.value.problems) == 5


def test_fields_come_from_columns():
    """By other names, several as lines of one text, values that are no text spelled as JSON."""
    source = row({"passage": "two is two", "question": "what is it", "answer": {"n": 2}})
    found = build(SCHEMAS["sft"], source, {"prompt": ("passage", "question"), "completion": ("answer",)})
    assert found.fields() == {
        "prompt": [{"role": "user", "content": "two is two\nwhat is it"}],
        "completion": [{"role": "assistant", "content": '{"n": 2}'}],
    }
    assert build(SCHEMAS["label"], row({"text": "x", "label": 3})).fields()["label"] == "3"
    with pytest.raises(BadConfig, match=r"none called reply") as caught:
        build(SCHEMAS["sft"], source, {"completion": ("reply",)})
    assert caught.value.mend == "The row has passage, question, answer."
    with pytest.raises(BadConfig, match="fields of 'sft' are prompt, completion, got answer"):
        build(SCHEMAS["sft"], source, {"answer": ("answer",)})
    with pytest.raises(BadConfig, match="a schema must be one of sft, chat"):
        schema("dpo")


def test_rows_are_built_one_at_a_time():
    """Nothing is read ahead."""
    read = []

    def rows():
        for n in range(3):
            read.append(n)
            yield row(FIELDS["sft"])

    stream = build_all(SCHEMAS["sft"], rows())
    assert next(stream) == made("sft")
    assert read == [0]


def test_papers_of_several_rows():
    """The strictest licence, the least human level, all calls; and no papers of nothing."""
    person = row({}, by="person")
    meta = meta_of([person, row({}, licence="CC-BY-NC-4.0", by="form")])
    assert (meta.licence, meta.level, meta.calls, len(meta.rows)) == ("CC-BY-NC-4.0", 6, 4, 2)
    assert meta_of([person]).level == 3
    with pytest.raises(BadConfig, match="made of emitted rows, got none"):
        meta_of([])
    with pytest.raises(BadConfig, match="counted from 0, got -1"):
        meta_of([person], round=-1)


@pytest.mark.parametrize("meta", [None, "lost", {}, {"id": "x"}])
def test_a_record_without_papers_is_refused(meta):
    """Also when it is read back; and so are papers with more in them than is known."""
    value = {**made("sft").as_json(), "meta": meta}
    with pytest.raises(BadData, match="meta"):
        SCHEMAS["sft"].from_json(value)
    whole = made("sft").as_json()
    with pytest.raises(BadData, match=r"meta\.more"):
        SCHEMAS["sft"].from_json({**whole, "meta": {**whole["meta"], "more": 1}})


# -- rejects -------------------------------------------------------------------------


def world():
    """Two accepted answers to `a`, one to `b`; rejected by a verifier, by form, and one that waits."""
    accepted = [
        row({"prompt": "a", "completion": "good"}, "x/0/0"),
        row({"prompt": "b", "completion": "fine"}, "x/1/0"),
        row({"prompt": "a", "completion": "also good"}, "x/2/0"),
    ]
    rejects = [
        row({"prompt": "a", "completion": "bad"}, "x/0/1", gate="tests", by="verifier"),
        row({"prompt": "a", "completion": "worse"}, "x/0/2", gate="taste", by="judge"),
        row({"prompt": "b", "completion": "fine"}, "x/1/1", gate="review", by="person"),
        row({"prompt": "b", "completion": "fine too"}, "x/1/2", gate="near duplicate", by="form"),
        row({"prompt": "b", "completion": "maybe"}, "x/1/3", gate="agreement", by="judge", status="audit"),
        row({"prompt": "c", "completion": "alone"}, "x/2/1", gate="tests"),
        row({"text": "not even parsed"}, "x/2/2", gate="schema", by="form"),
    ]
    return accepted, rejects


def said(pairs):
    return [(each.prompt[0].content, each.chosen[0].content, each.rejected[0].content) for each in pairs]


def test_accepted_and_rejected_answers_make_pairs():
    """Of the same prompt, by who can tell what is worse, never an answer with itself; both rows' papers."""
    accepted, rejects = world()
    found = list(preferences(iter(accepted), iter(rejects), seed=1))
    assert said(found) == [("a", "good", "bad")]
    assert [each["place"] for each in found[0].meta.rows] == ["x/0/0", "x/0/1"]
    assert found[0].meta.made == "accepted, and rejected by tests"
    assert found[0].meta.calls == 4
    every = preferences(accepted, rejects, per_prompt=None)
    assert said(every) == [(*("a", good), bad) for good in ("good", "also good") for bad in ("bad", "worse")]
    assert said(preferences(accepted, rejects, by=("form",))) == [("b", "fine", "fine too")]


def test_pairs_come_from_columns():
    """As rows call them."""
    accepted, rejects = (
        [row({"q": each.values["prompt"], "a": each.values["completion"]}, each.place, gate=each.gate) for each in side]
        for side in (world()[0], world()[1][:2])
    )
    found = preferences(accepted, rejects, {"prompt": ("q",), "completion": ("a",)})
    assert said(found) == [("a", "good", "bad")]


def test_wanted_and_unwanted_answers():
    """Labelled by their fates; what nobody could judge is left out."""
    accepted, rejects = world()
    found = [
        (each.completion[0].content, each.label, each.meta.rows[0]["gate"]) for each in unpaired(accepted, rejects)
    ]
    assert found[:3] == [("good", True, ""), ("fine", True, ""), ("also good", True, "")]
    assert found[3:] == [
        ("bad", False, "tests"),
        ("worse", False, "taste"),
        ("fine", False, "review"),
        ("alone", False, "tests"),
    ]


def test_every_row_can_be_audited():
    """Whatever became of it."""
    rejects = world()[1]
    found = list(audits(rejects))
    assert [each.fields() for each in found] == [
        {"values": each.values, "status": each.status, "gate": each.gate, "why": each.why} for each in rejects
    ]


# -- one record of another -----------------------------------------------------------


def test_a_ranking_as_pairs():
    """C(K, 2) of them, better first, with the scores there are; or the best with one other, by seed."""
    rank = made("rank")
    found = pairs(rank)
    assert [(each.chosen[0].content, each.rejected[0].content) for each in found] == [
        ("four", "five"),
        ("four", "six"),
        ("five", "six"),
    ]
    assert (found[0].score_chosen, found[0].score_rejected, found[1].score_rejected) == (9.0, 2.5, None)
    assert found[0].meta.rows == rank.meta.rows
    assert found[0].meta.made == "rank: ranks 1 and 2 of 3"
    drawn = [best_vs_random(rank, Random(seed)).rejected[0].content for seed in range(40)]
    assert drawn == [best_vs_random(rank, Random(seed)).rejected[0].content for seed in range(40)]
    assert set(drawn) == {"five", "six"}


def test_a_critique_as_a_completion():
    """Feedback, then the score; the rubric and the reference in the prompt."""
    record = as_sft(made("critique"))
    assert record.completion[0].content == "five is one too many\n\nScore: 1"
    assert all(part in record.prompt[0].content for part in ("what is two plus two", "five", "is it right", "four"))
    assert "Reference" not in as_sft(made("critique", reference=None)).prompt[0].content


def test_attributes_in_the_prompt():
    """Behind the user's last turn, and the system message stays."""
    record = as_sft(made("attr"))
    assert record.prompt[0].content == "Be brief."
    assert record.prompt[1].content == "what is two plus two\n\nAttributes: humour:0,quality:4"
    assert record.completion[0].content == "four"


def test_what_trainers_take():
    """Each schema becomes one that trains, but for what nothing trains on."""
    records = [made(name) for name in FIELDS if name != "audit"]
    names = [each.schema_id for each in as_trl(records)]
    assert names == [
        "sft", "chat", "pref", "pref", "pref", "pref", "unpaired", "steps", "sft", "sft", "tool", "text", "label", "verifiable",
    ]  # fmt: skip
    assert [each.schema_id for each in as_trl([made("rank")], rank="best-vs-random")] == ["pref"]
    with pytest.raises(BadConfig, match="got 'audit'"):
        trl_schema("audit")
    with pytest.raises(BadConfig, match="'all' or 'best-vs-random', got 'some'"):
        next(as_trl([], rank="some"))
    assert all(isinstance(each.meta, Meta) and each.meta.rows == records[0].meta.rows for each in as_trl(records))
