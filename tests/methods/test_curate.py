"""The acceptance checks of the curate method: cleaning what exists."""

from __future__ import annotations

import random
import re

import pytest
from recipe_world import Words, World, handed_over, sample_rows, stopped, values

from stillroom.errors import BadData
from stillroom.evals.gates import Candidate
from stillroom.programs.methods._conversations import conversation_rules, pieces, trimmed, turns
from stillroom.programs.methods._html import markdown
from stillroom.programs.methods._sets import Apart, Balanced, Rare, balanced
from stillroom.programs.methods._texts import tokens
from stillroom.programs.methods.curate import upper_quartile
from stillroom.programs.published import preset
from stillroom.programs.published.shares import spread

PRESETS = ["hunyuan-quality", "llama3-selection", "openhermes-mixture", "slimorca-check", "vicuna-sharegpt"]
TOPICS = {"cookbook": "cooking", "workshop": "crafts", "letters": "letters"}


@pytest.fixture(autouse=True)
def _embedder(monkeypatch):
    monkeypatch.setattr("stillroom.evals.embedding.default_embedder", Words)


def world(**said) -> World:
    source = {row["instruction"]: TOPICS[row["source"]] for row in sample_rows("answered_sets.jsonl")}
    return World(
        {
            "agree": lambda inputs: {"verdict": "yes" if inputs["question"].split("'")[1].lower() in inputs["text"].lower() else "no"},
            "classify": lambda inputs: {"label": source.get(inputs["text"], "cooking").upper() + "."},
            "grade": lambda inputs: {"feedback": "Read.", "score": 3 if len(inputs["response"]) > 90 else 2},
            "intentions": lambda inputs: {"intentions": inputs["instruction"].split()[:3]},
            "critique": lambda inputs: {"critique": "It is too short."},
            "revise": lambda inputs: {"revised": inputs["response"] + " " + "And here is what was missing from it. " * 3},
            **said,
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_rows_and_records(name, tmp_path):
    """On scripted calls and the sample rows, each preset gives rows, and records of every schema that it promises."""
    emitted = world().run(name, tmp_path, rows=6)
    assert 3 <= len(emitted.rows) <= 6
    for made in handed_over(name, emitted).values():
        assert len(made) == len(emitted.rows)
        assert all(each.meta.rows[0]["passport"]["parents"] for each in made)


# -- conversations -------------------------------------------------------------------------

LONG = "That is a long story, and here is how it goes from its beginning to its end."
FIXTURES = {
    "two turns": ([("human", "Is anybody there?")], "two turns"),
    "roles": ([("human", "One."), ("human", "Two."), ("gpt", LONG)], "roles in turns"),
    "empty": ([("human", "Tell me a story."), ("gpt", "  \n ")], "no empty turn"),
    "characters": ([("human", "Hello?"), ("gpt", "Hi there.")], "16 characters"),
    "rate limit": ([("human", "Go on."), ("gpt", "!Too many requests in 1 hour. Try again later.")], "no failure of the service"),
    "numbers": ([("human", "List them."), ("gpt", "These:\n1. Elbe\n1. Oder\n1. Rhine")], "list numbers"),
    "blocked": ([("human", "Who are you?"), ("gpt", "I was made by OpenAI, as you know.")], "words(openai, chatgpt)"),
    "language kept": ([("human", "Wie geht es dir heute Morgen?"), ("gpt", "Mir geht es gut, danke der Nachfrage!")], "language(en but none)"),
    "digits": ([("human", "Which account is it?"), ("gpt", "It is number 000000000.")], "no 9 equal digits"),
}  # fmt: skip
FINE = {
    "two turns": [("human", "Is anybody there?"), ("gpt", LONG)],
    "roles": [("human", "One."), ("gpt", LONG), ("human", "Two?"), ("gpt", LONG)],
    "empty": [("human", "Tell me a story."), ("gpt", LONG)],
    "characters": [("human", "Hello?"), ("gpt", "Hi there!!")],
    "rate limit": [("human", "What does 'too many requests' mean?"), ("gpt", "It means: too many requests in 1 hour.")],
    "numbers": [("human", "List them."), ("gpt", "These:\n1. Elbe\n2. Oder\n\nAnd those:\n1. Rhine")],
    "blocked": [("human", "Who are you?"), ("gpt", "An open artificial intelligence, in a way.")],
    "language kept": [("human", "How are you this morning?"), ("gpt", "I am well, thank you for asking me about it!")],
    "digits": [("human", "Which account is it?"), ("gpt", "It is number 00000000.")],
}


def conversation(said):
    return {"conversations": [{"from": who, "value": text} for who, text in said]}


@pytest.mark.acceptance("2.20 D1")
@pytest.mark.parametrize("name", FIXTURES)
def test_one_conversation_a_rule(name, tmp_path):
    """Nine rules that refuse: the conversation that breaks one is stopped by it, and its neighbour passes them all."""
    said, gate = FIXTURES[name]
    params = {"languages": ["en"] if name == "language kept" else [], "same_digits": True}
    given = {"rows": [conversation(said), conversation(FINE[name])]}
    emitted = world().run("vicuna-sharegpt", tmp_path, given=given, params=params)
    assert stopped(emitted) == {gate: 1}
    assert [each["content"] for each in emitted.rows[0].values["messages"]] == [text for _, text in FINE[name]]


@pytest.mark.acceptance("2.20 D1")
@pytest.mark.parametrize(
    ("said", "left"),
    [
        ([("gpt", "Welcome!"), ("human", "What is it?"), ("gpt", LONG)], [["What is it?", LONG]]),
        ([("human", "What is it?"), ("gpt", LONG), ("human", "Thanks!")], [["What is it?", LONG]]),
        ([("human", "<b>What</b> is it?"), ("gpt", "<div><p>A <em>list</em>:</p><ul><li>one thing</li><li>two</li></ul></div>")],
         [["**What** is it?", "A *list*:\n\n- one thing\n- two"]]),
        ([("human", "Which is it?"), ("gpt", "1 / 3\n\n" + LONG)], [["Which is it?", LONG]]),
        ([("human", "w " * 20 + "?"), ("gpt", "x " * 20 + "."), ("human", "y " * 20 + "?"), ("gpt", "z " * 20 + ".")],
         [["w " * 20 + "?", "x " * 20 + "."], ["y " * 20 + "?", "z " * 20 + "."]]),
    ],
    ids=["first is a person", "last is the assistant", "pages to Markdown", "pager", "cut at a length"],
)  # fmt: skip
def test_one_conversation_a_repair(said, left, tmp_path):
    """Rules that mend: the turns that are left, and nothing is refused."""
    emitted = world().run("vicuna-sharegpt", tmp_path, given={"rows": [conversation(said)]}, params={"length": 60})
    assert [[each["content"] for each in row.values["messages"]] for row in emitted.rows] == left
    assert not emitted.rejects


@pytest.mark.acceptance("2.20 D1")
def test_a_second_copy_of_a_conversation_goes(tmp_path):
    """The same first answer and as many turns: a copy. With a turn more it is another one."""
    one = [("human", "What is it?"), ("gpt", LONG)]
    more = [*one, ("human", "And then?"), ("gpt", "Then it ends.")]
    given = {"rows": [conversation(one), conversation([("human", "What was it?"), one[1]]), conversation(more)]}
    emitted = world().run("vicuna-sharegpt", tmp_path, given=given)
    assert len(emitted.rows) == 2
    assert stopped(emitted) == {"new conversation": 1}


def test_pieces_hold_whole_pairs_and_lose_none():
    """At every length: pairs stay together, nothing is too long, and what fits a piece is in one; the system message stays."""
    system = {"role": "system", "content": "Be kind."}
    said = [{"role": ("user", "assistant")[at % 2], "content": "word " * (3 + at)} for at in range(10)]
    for most in range(20, 150, 7):
        found = pieces([system, *said], most)
        assert all(each[0] == system and len(each) % 2 == 1 for each in found)
        assert all(sum(tokens(turn["content"]) + 6 for turn in each) <= most for each in found)
        kept = [turn for each in found for turn in each[1:]]
        fits = [
            said[at : at + 2]
            for at in range(0, 10, 2)
            if 3 + 6 + sum(tokens(t["content"]) + 6 for t in said[at : at + 2]) <= most
        ]
        assert kept == [turn for pair in fits for turn in pair]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<pre><div>pythonCopy code<code>if a &lt; b:\n    print('&lt;p&gt;')\n</code></div></pre>", "```python\nif a < b:\n    print('<p>')\n```"),
        ("<p>Use &lt;p&gt; and <code>&lt;br&gt;</code>.</p>", "Use &lt;p> and `<br>`."),
        ("<ol><li>one</li><li>two<ul><li>deep</li></ul></li></ol>", "1. one\n2. two\n   - deep"),
        ("<table><thead><tr><th>x</th><th>y</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
         "| x | y |\n| --- | --- |\n| 1 | 2 |"),
        ("<h2>Rain</h2><p>See <a href=\"http://x.y\">there</a>.</p>", "## Rain\n\nSee [there](http://x.y)."),
        ("if a<b and c>d: vector<a>", "if a<b and c>d: vector<a>"),
        ("```html\n<p>stays</p>\n```", "```html\n<p>stays</p>\n```"),
    ],
)  # fmt: skip
def test_pages_become_markdown_once(page, text):
    """Code, lists, tables, links; what is no page stays as it is, and a second reading changes nothing."""
    assert re.sub(r"\n+(?=\d\.|-|   -)", "\n", markdown(page)) == text
    assert markdown(markdown(page)) == markdown(page)


def test_both_forms_of_conversations_are_read():
    """ShareGPT's and messages; roles by their usual names."""
    shared = turns({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]})
    assert shared == turns({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]})
    assert trimmed([{"role": "system", "content": "s"}, {"role": "assistant", "content": "x"}, *shared])[1:] == shared
    assert len(conversation_rules((), (), (), False)) == 6


# -- whole sets ----------------------------------------------------------------------------


@pytest.mark.acceptance("2.20 D2")
def test_classes_have_their_shares_within_a_row_in_any_order():
    """Random sets and weights: shares within one row, no more rows possible, the same rows whatever the order."""
    rng = random.Random(3)
    for _ in range(60):
        names = "abcd"[: rng.randint(2, 4)]
        weights = {name: rng.choice([1, 2, 0.5, 3.3]) for name in names}
        classes = [rng.choice(names) for _ in range(rng.randint(8, 60))]
        most = rng.randint(1, 70)
        counts = balanced(classes, weights, most)
        total = sum(counts.values())
        assert total <= most
        for name, weight in weights.items():
            assert abs(counts[name] - total * weight / sum(weights.values())) <= 1
        larger = [spread(each, weights) for each in range(total + 1, min(most, len(classes)) + 1)]
        assert all(any(each.get(name, 0) > classes.count(name) for name in names) for each in larger)
        rows = [
            Candidate(str(at), {"label": each, "score": at % 3, "text": f"t{at}"}, "", {})
            for at, each in enumerate(classes)
        ]
        shuffled = rng.sample(rows, len(rows))
        gate = Balanced(weights, most)
        kept = [
            {row.place for row, verdict in zip(batch, gate.check(batch), strict=True) if verdict.passed}
            for batch in (rows, shuffled)
        ]
        assert kept[0] == kept[1]
        assert len(kept[0]) == total
    assert balanced("aab", {}, 9) == {"a": 2, "b": 1}
    assert balanced("aaa", {"a": 1, "b": 1}, 9) == {"a": 1, "b": 0}


def candidate(text, score, label="x", response=""):
    return Candidate(text, {"label": label, "score": score, "text": text, "response": response}, "", {})


@pytest.mark.acceptance("2.20 D3")
def test_of_a_near_pair_the_one_with_the_higher_product_stays(tmp_path):
    """In both orders, within a topic only; and through the whole preset, where the product is quality times difficulty."""
    near = [
        candidate("How do I poach an egg in hot water with vinegar?", 6.0),
        candidate("How can I poach an egg in hot water with vinegar?", 8.0),
        candidate("Which sandpaper is right for oak?", 1.0),
    ]
    for batch in (near, near[::-1]):
        kept = {each.place for each, verdict in zip(batch, Apart(0.8).check(batch), strict=True) if verdict.passed}
        assert kept == {near[1].place, near[2].place}
    other = [candidate(near[0].place, 6.0, "y"), *near[1:]]
    assert all(verdict.passed for verdict in Apart(0.8).check(other))
    egg = "How do I poach an egg?"
    answer = "Bring water with vinegar just under the boil, stir it, slide the egg into the middle and wait for three minutes."
    given = {"rows": [
        {"instruction": egg, "response": answer}, {"instruction": "How can I poach an egg?", "response": answer},
        {"instruction": "Why is the sky blue at noon and red at night?", "response": "Blue light is scattered more, " + LONG},
    ]}  # fmt: skip
    said = {
        "intentions": lambda inputs: {
            "intentions": ["poach"] * 3 if inputs["instruction"] == egg else ["poach", "serve"]
        }
    }
    for name, order in (("one", [0, 1, 2]), ("two", [2, 1, 0])):
        rows = {"rows": [given["rows"][at] for at in order]}
        emitted = world(**said).run("llama3-selection", tmp_path / name, given=rows)
        assert set(values(emitted.rows, "instruction")) == {
            given["rows"][1]["instruction"],
            given["rows"][2]["instruction"],
        }
        assert stopped(emitted) == {"cosine <= 0.9": 1}
        for row in emitted.rows:
            assert row.values["score"] == row.values["quality"] * row.values["difficulty"]


def test_overused_phrases_are_rare_afterwards():
    """At most the share of what passes; those with the highest score stay; no phrase, nobody goes."""
    batch = [candidate(f"t{at}", float(at), response="I'm sorry, no." if at < 8 else "Gladly.") for at in range(26)]
    gate = Rare(("i'm sorry",), 0.1)
    passed = [each.place for each, verdict in zip(batch, gate.check(batch), strict=True) if verdict.passed]
    assert sorted(passed[:2]) == ["t6", "t7"]
    assert len(passed) == 20  # 2 of 20
    assert all(verdict.passed for verdict in Rare(("zebra",), 0.1).check(batch))
    assert all(verdict.passed for verdict in Rare(("i'm sorry",), 1.0).check(batch))


@pytest.mark.acceptance("2.20 D4")
@pytest.mark.parametrize("name", PRESETS)
def test_cleaning_what_is_clean_changes_nothing_and_the_funnel_adds_up(name, tmp_path):
    """What passed passes again, as it was; rows in are rows out, with the gate that stopped each."""
    source = sample_rows(preset(name).sample["rows"])
    first = world().run(name, tmp_path / "first", rows=1000)
    assert len(first.rows) + len(first.rejects) == len(source)
    assert sum(stopped(first).values()) == len(first.rejects)
    assert first.rejects
    assert all(row.gate for row in first.rejects)
    assert next(reached for _, reached, _ in first.funnel) == len(source)
    again = [
        {**{key: row.values[key] for key in row.values if key != "label"}, **kept_of(row, source)} for row in first.rows
    ]
    second = world().run(name, tmp_path / "second", rows=1000, given={"rows": again})
    assert not second.rejects
    field = "messages"
    assert sorted(map(str, values(second.rows, field))) == sorted(map(str, values(first.rows, field)))


def kept_of(row, source):
    """What the source knew of a row beside its text: which set it is from, its label and its reward."""
    found = next((each for each in source if each.get("instruction") == row.values.get("instruction", "?")), {})
    return {key: found[key] for key in ("source", "gold", "reward") if key in found}


# -- the kinds -----------------------------------------------------------------------------


def test_answers_that_contradict_their_labels_go(tmp_path):
    """Four of the twelve; an answer that is its label costs no call; the papers say that a judge decided."""
    here = world(
        agree=lambda inputs: {
            "verdict": "no"
            if any(x in inputs["text"] for x in ("lively", "nearly none", "160", "vegetable"))
            else "yes"
        }
    )
    emitted = here.run("slimorca-check", tmp_path)
    assert len(emitted.rows) == 8
    assert stopped(emitted) == {"agrees with its label >= 0.5": 4}
    asked = [inputs["text"] for _, inputs in here.asked]
    assert len(asked) == 10
    assert not {"Lisbon.", "Run."} & set(asked)
    with pytest.raises(BadData, match="lacks"):
        here.run("slimorca-check", tmp_path / "bad", given={"rows": [{"instruction": "a", "response": "b"}]})


def test_doubtful_grades_wait_for_a_person_and_labels_are_balanced(tmp_path):
    """Grade 1 is refused, 2 waits, 3 and 4 pass; then each label has as many rows as any other."""
    grades = {"poach": 4, "leeks": 1, "shelf": 2}

    def grade(inputs):
        return {"feedback": "", "score": next((n for word, n in grades.items() if word in inputs["instruction"]), 3)}

    emitted = world(grade=grade).run("hunyuan-quality", tmp_path)
    gone = {row.values["instruction"]: (row.status, row.gate) for row in emitted.rejects}
    assert gone["What can I cook with leeks and potatoes?"] == ("rejected", "grade >= 2")
    assert gone["How thick must a shelf of one metre be for books?"] == ("audit", "grade >= 3")
    labels = values(emitted.rows, "label")
    counts = [labels.count(label) for label in set(labels)]
    assert max(counts) - min(counts) <= 1
    assert set(labels) == {"cooking", "crafts", "letters"}
    odd = world(classify=lambda inputs: {"label": "astrology"}).run("hunyuan-quality", tmp_path / "odd")
    assert not odd.rows
    assert stopped(odd)["a label of the taxonomy"]


def test_quality_is_the_union_and_hard_rows_are_mended(tmp_path):
    """High reward or full points; a hard row with neither is revised and judged again, an easy one goes."""
    short = "Do it slowly."
    given = {"rows": [
        {"instruction": "Easy but rewarded.", "response": short, "reward": 9.0},
        {"instruction": "Easy and poor.", "response": short + " Really.", "reward": 0.1},
        {"instruction": "Hard and poor.", "response": short + " Truly.", "reward": 0.2},
        {"instruction": "Easy and good.", "response": LONG + " " + LONG, "reward": 0.3},
    ]}  # fmt: skip

    def grade(inputs):
        if "How hard" in inputs["rubric"]:
            return {"feedback": "", "score": 3 if "Hard" in inputs["instruction"] else 1}
        return {"feedback": "", "score": 3 if len(inputs["response"]) > 90 else 2}

    here = world(grade=grade)
    emitted = here.run("llama3-selection", tmp_path, given=given, params={"alike": 1.0})
    assert set(values(emitted.rows, "instruction")) == {"Easy but rewarded.", "Hard and poor.", "Easy and good."}
    (mended,) = [row for row in emitted.rows if row.values["instruction"] == "Hard and poor."]
    assert mended.values["original"] == short + " Truly."
    assert mended.values["response"].startswith(short + " Truly. And here")
    assert [call for call, _ in here.asked].count("revise") == 1
    assert not any(
        row.values["instruction"] == "Hard and poor."
        for row in world(grade=grade)
        .run("llama3-selection", tmp_path / "drop", given=given, params={"alike": 1.0, "revise": False})
        .rows
    )
    assert upper_quartile([1, 2, 3, 4, 5, 6, 7, 8], 0.25) == 7
    assert upper_quartile([], 0.25) == float("inf")


def test_a_mixture_has_its_weights_within_a_row(tmp_path):
    """Refusals and copies go first; then two of one set for each of the others."""
    weights = {"cookbook": 2.0, "workshop": 1.0, "letters": 1.0}
    emitted = world().run("openhermes-mixture", tmp_path, rows=8, params={"weights": weights})
    labels = values(emitted.rows, "label")
    assert {name: labels.count(name) for name in weights} == {"cookbook": 4, "workshop": 2, "letters": 2}
    gone = stopped(emitted)
    assert sum(count for gate, count in gone.items() if gate.startswith("boilerplate")) == 3
    assert gone["new among all sources"] == 2
