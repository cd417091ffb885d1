"""The acceptance checks of the corpus method: texts to pretrain on."""

from __future__ import annotations

import json
import re
from itertools import count, cycle

import numpy as np
import pytest
from recipe_world import World, handed_over, sample_rows, stopped

from stillroom.errors import BadConfig, BadData
from stillroom.programs.methods._inflected import forms, missing
from stillroom.programs.methods._rephrased import facts, kept_facts, stripped
from stillroom.programs.methods._texts import tokens
from stillroom.programs.methods.corpus import beside
from stillroom.programs.published import preset, records

PRESETS = ["phi-1-filter", "phi-1-labels", "phi-1-textbooks", "phi-1.5", "tinystories", "tinystories-instruct", "wrap"]


class Letters:
    """Stands in for the embedding model: words that a text has, hashed, as a unit vector."""

    digest, precision = "0" * 64, "float32"

    def embed(self, texts):
        out = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            row[[sum(map(ord, word)) % 64 for word in re.findall(r"\w+|#|\"\"\"", text)]] = 1
            row[0] = 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _embedder(monkeypatch):
    monkeypatch.setattr("stillroom.evals.quality.default_embedder", Letters)


NUMBERS = count()


def story(inputs):
    verb, noun, adjective = re.findall(r"'(\w+)'", inputs["requirements"])[:3]
    told = f"Once there was a {adjective} {noun}. It liked to {verb} all day long. Then the sun went down. "
    return {"text": told + f"The end of story {next(NUMBERS)} is that they all went home. " * 8}


def world(**said) -> World:
    return World(
        {
            "compose": lambda inputs: story(inputs) if "'" in inputs["requirements"] else {
                "text": f"{inputs['subject']}, told as {inputs['requirements']}. " + "It is so for a reason. " * 20
            },
            "rephrase": lambda inputs: {"text": f"Here is a paraphrase of the passage:\n\n{inputs['passage'][:180].strip()}"},
            "value": lambda inputs: {"verdict": "yes" if "#" in inputs["text"] else "no"},
            **said,
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_rows_and_records(name, tmp_path):
    """On scripted calls and the sample rows, each preset gives rows, and records of every schema that it promises."""
    emitted = world().run(name, tmp_path, rows=4)
    assert len(emitted.rows) == 4
    for made in handed_over(name, emitted).values():
        assert len(made) == (4 if name != "wrap" else sum(len(row.values["texts"]) for row in emitted.rows))


@pytest.mark.parametrize("name", ["phi-1.5", "tinystories", "wrap", "phi-1-filter"])
def test_what_a_kind_needs_is_asked_for(name):
    """Sources are optional for the method and not for each kind: the error names what lacks, before any call."""
    job = world().job(name)
    bare = type(job)(job.preset, job.method, job.params, job.engines, {}, job.rows)
    with pytest.raises(BadConfig, match="needs rows called"):
        job.method.flow(bare)


# -- stories -------------------------------------------------------------------------------


@pytest.mark.acceptance("2.11 D1")
def test_every_story_has_its_three_words_in_some_form(tmp_path):
    """Inflected words count, words that merely begin so do not, and a story without one is refused by a program."""
    words = [
        {"word": word, "kind": kind} for word, kind in (("carry", "verb"), ("mouse", "noun"), ("happy", "adjective"))
    ]
    tail = "They went on, and it was a long way, and the day was warm and still. " * 6
    told = [
        "The happier of the mice carried the seed home. ",
        "Carrying the bread, the happiest mouse came in. ",
        "The mouse was happy. ",  # carries nothing
        "The happy mousetrap carries on. ",
        "They carry a mouse unhappily. ",
        "THE MOUSE'S CARRIERS; a Happy one to carry it. ",
    ]
    texts = cycle(told)
    here = world(compose=lambda inputs: {"text": next(texts) + tail})
    emitted = here.run("tinystories", tmp_path, rows=6, given={"words": words}, params={"most_features": 0})
    kept = {text.split(" They went on")[0] for text in texts_of(emitted)}
    assert kept == {told[0].strip(), told[1].strip(), told[5].strip()}
    assert {row.why for row in emitted.rejects if row.gate == "its three words"} == {
        "the story lacks carry", "the story lacks mouse", "the story lacks happy",
    }  # fmt: skip
    assert all(
        each["by"] == "verifier"
        for row in emitted.rows
        for each in row.passport.verdicts
        if each["gate"] == "its three words"
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("go", "went"), ("child", "children"), ("stop", "stopped"), ("bake", "baking"), ("box", "boxes"),
        ("cry", "cried"), ("big", "biggest"), ("leaf", "leaves"), ("swim", "swam"), ("good", "better"),
        ("dog", "dog's"), ("dog", "dog’s"), ("tie", "tying"), ("ice cream", "two ice creams"), ("play", "played"),
    ],
)  # fmt: skip
def test_forms_of_words_are_found(word, said):
    """Regular and irregular ones, possessives and words of two parts."""
    assert missing([word], f"There they {said}, then.") == []


def test_other_words_are_not_forms():
    """What only shares letters with a word is another word."""
    assert missing(["cat", "run", "ice cream"], "The caterpillar pruned the ice and the cream.") == [
        "cat",
        "run",
        "ice cream",
    ]
    assert "stoped" in forms("stop")
    assert "bus" not in forms("bun")


def test_words_and_features_are_drawn_evenly_and_by_the_seed():
    """From none to three features, each number as often; the same seed draws the same."""
    job = world().job("tinystories")
    draw = job.method.flow(job).source.draw
    drawn = [draw("texts", slot) for slot in range(400)]
    sizes = [len(wanted.fields["features"]) for wanted in drawn]
    assert all(70 <= sizes.count(size) <= 130 for size in range(4))
    assert drawn == [world().job("tinystories").method.flow(job).source.draw("texts", slot) for slot in range(400)]
    assert all(all(word in wanted.fields["requirements"] for word in wanted.fields["words"]) for wanted in drawn)
    with pytest.raises(BadData, match="got none of adjective"):
        world().job(
            "tinystories", given={"words": [{"word": "cat", "kind": "noun"}, {"word": "run", "kind": "verb"}]}
        ).method.flow(
            world().job(
                "tinystories", given={"words": [{"word": "cat", "kind": "noun"}, {"word": "run", "kind": "verb"}]}
            )
        )


def test_an_instruct_story_follows_what_it_was_to_be(tmp_path):
    """Words, features, summary and a sentence that stands in the story; over many rows each is shown about half the time."""
    emitted = world().run("tinystories-instruct", tmp_path, rows=40)
    shown = [
        re.findall(r"^(Words|Features|Summary|Random sentence): (.+)$", row.values["prompt"], re.M)
        for row in emitted.rows
    ]
    for row, parts in zip(emitted.rows, shown, strict=True):
        assert parts
        assert row.values["texts"][0]["text"] == f"{row.values['prompt']}\nStory:\n\n{row.values['story']}"
        assert all(said in row.values["story"] for name, said in parts if name == "Random sentence")
    for name in ("Words", "Summary", "Random sentence"):
        assert 8 <= sum(name in dict(parts) for parts in shown) <= 32


# -- rephrased pages -----------------------------------------------------------------------


@pytest.mark.acceptance("2.11 D2")
def test_real_and_synthetic_text_are_mixed_token_for_token(tmp_path):
    """Over the export and in every row, however long rephrased texts are beside their sources."""
    lengths = iter([20, 350, 77, 140, 203, 9, 260, 180, 31, 99] * 9)
    words = count()
    here = world(rephrase=lambda inputs: {"text": " ".join(f"w{next(words)}" for _ in range(next(lengths)))})
    emitted = here.run("wrap", tmp_path / "even", rows=10)
    made = list(records(preset("wrap").load().emits["text"], "text", list(emitted.rows)))
    synthetic = sum(tokens(each.text) for each in made if each.text.startswith("w"))
    real = sum(tokens(each.text) for each in made if not each.text.startswith("w"))
    assert len(emitted.rows) >= 6
    assert abs(real / synthetic - 1) <= 0.01
    assert all(len({tokens(" ".join(side)) for side in halves(row)}) == 1 for row in emitted.rows)
    pages = "\n".join(row["text"] for row in sample_rows("pages.jsonl"))
    assert all(each.text in pages for each in made if not each.text.startswith("w"))
    half = world().run("wrap", tmp_path / "half", rows=3, params={"ratio": 0.5})
    for row in half.rows:
        synthetic, real = map(" ".join, halves(row))
        assert abs(tokens(real) - tokens(synthetic) / 2) <= 0.5


def texts_of(emitted):
    return [each["text"] for row in emitted.rows for each in row.values["texts"]]


def halves(row):
    first, *real = [each["text"] for each in row.values["texts"]]
    return [first], real


def test_a_text_longer_than_what_is_beside_it_is_refused(tmp_path):
    """Both sides of the bound: as long as source and reserve together, and a token longer."""
    assert beside("a b c", "d e", "v w x y z", 1.0) == ["a b c", "d e"]
    assert beside("a b c", "d e", "u v w x y z", 1.0) is None
    assert beside("a b c", "d e", "v w", 1.0) == ["a b"]
    assert beside("a b c", "", "v w", 2.0) is None
    emitted = world(rephrase=lambda inputs: {"text": " ".join(f"w{n}." for n in range(480))}).run(
        "wrap", tmp_path, rows=2
    )
    assert not emitted.rows
    assert list(stopped(emitted)) == ["as long as its real half(1)"]


@pytest.mark.acceptance("2.11 D3")
@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Here is a paraphrase of the passage:\n\nThe cat slept.", "The cat slept."),
        ("Here's a paraphrased version of the paragraph: The cat slept.", "The cat slept."),
        ("Sure! Here is the rewritten text:\n\"The cat slept.\"", "The cat slept."),
        ("Certainly. The following is a conversation based on the passage:\nQuestion: Who slept?\nAnswer: The cat.",
         "Question: Who slept?\nAnswer: The cat."),
        ("Paraphrase: The cat slept.", "The cat slept."),
        ("**Simplified version**\n\nThe cat slept.", "The cat slept."),
        ("Of course! The cat slept.", "The cat slept."),
        ("This is a simplified version of the text:\nThe cat slept.\n\nI hope this helps!", "The cat slept."),
        ("“The cat slept.”", "The cat slept."),
        # what only looks like one stays
        ("Here is a village that nobody left: its bakery was too good.", None),
        ("Here are three rules: be kind, be early, be brief.", None),
        ("The text of the law is short: nobody may sleep.", None),
        ("\"Go,\" she said, and he said: \"Stay.\"", None),
        ("Surely the cat slept.", None),
        ("Question: Who slept?\nAnswer: The cat.", None),
    ],
)  # fmt: skip
def test_lead_ins_are_taken_away(said, left):
    """What a model says about its work goes, what it wrote stays, and nothing is taken away twice."""
    assert stripped(said) == (said if left is None else left)
    assert stripped(stripped(said)) == stripped(said)


def test_numbers_and_names_can_be_held_to(tmp_path):
    """Their share is in each row, and a threshold refuses what lost too many."""
    source = "The bridge at Arles, built in 1888 for 2,400 francs, was painted by Vincent."
    assert facts(source) == {"Arles", "1888", "2,400", "Vincent"}
    assert kept_facts(source, "Vincent painted the bridge of arles, which cost 2,400 francs.") == 0.75
    assert kept_facts("no facts here", "nothing") == 1.0
    lossy = world(rephrase=lambda inputs: {"text": "Something happens somewhere."})
    kept = lossy.run("wrap", tmp_path / "none", rows=10, params={"facts": 0.5}).rows
    assert all(not facts(row.values["texts"][1]["text"]) for row in kept)
    assert len(kept) < 3
    assert world().run("wrap", tmp_path / "some", rows=2, params={"facts": 0.1}).rows


def test_styles_take_turns_and_the_papers_name_them(tmp_path):
    """Four styles over eight rows are asked for twice each."""
    emitted = world().run("wrap", tmp_path, rows=8)
    asked = [row.passport.target["style"] for row in emitted.rows]
    assert {name: asked.count(name) for name in asked} == {"easy": 2, "medium": 2, "hard": 2, "qa": 2}


# -- educational value ---------------------------------------------------------------------


def test_labels_have_probabilities_in_the_order_of_their_names(tmp_path):
    """no, yes: as the label records want them."""
    emitted = world().run("phi-1-labels", tmp_path)
    assert len(emitted.rows) == 12
    for record in records(preset("phi-1-labels").load().emits["label"], "label", list(emitted.rows)):
        assert record.probs == ((0.0, 1.0) if record.label == "yes" else (1.0, 0.0))


def test_the_filter_learns_from_labels_and_says_how_good_it_is(tmp_path):
    """Texts like the good ones pass; AUROC and precision at the cut are in the papers; bad labels are refused."""
    emitted = world().run("phi-1-filter", tmp_path)
    forest = emitted.rows[0].passport.target["forest"]
    assert forest["rows"] == 24
    assert forest["auroc"][0] <= forest["auroc"][1] <= forest["auroc"][2]
    assert 0 < forest["kept"] < 1
    assert forest["precision"] >= 0.75
    assert sum("#" in text or '"""' in text for text in texts_of(emitted)) >= len(emitted.rows) - 1
    graded = sample_rows("graded_code.jsonl")
    with pytest.raises(BadData, match="maybe"):
        world().run("phi-1-filter", tmp_path / "bad", given={"labelled": [*graded, {"text": "x", "label": "maybe"}]})


def test_a_grid_is_filled_before_any_cell_comes_again():
    """20 topics, 5 audiences, 4 forms: 400 different requests, then the first once more."""
    job = world().job("phi-1.5")
    draw = job.method.flow(job).source.draw
    drawn = [json.dumps(draw("texts", slot).fields, sort_keys=True) for slot in range(401)]
    assert len(set(drawn[:400])) == 400
    assert drawn[400] == drawn[0]


def test_what_a_cut_keeps_is_known_where_the_score_was_fitted(tmp_path):
    """Share and precision by the folds; a score that was loaded says that it does not know."""
    from stillroom.evals.quality import QualityScore

    rows = sample_rows("graded_code.jsonl")
    score = QualityScore(embedder=Letters()).fit([row["text"] for row in rows], [row["label"] == "yes" for row in rows])
    chances, answers = score.held_out_
    share, precision = score.kept(0.5)
    assert share == np.mean(chances >= 0.5)
    assert precision == answers[chances >= 0.5].mean()
    assert score.kept(1.1) == (0.0, None)
    score.save(tmp_path)
    with pytest.raises(BadConfig, match="fitted here"):
        QualityScore.load(tmp_path, embedder=Letters()).kept(0.5)
