"""The acceptance checks of the ground method: tasks for texts that are there."""

from __future__ import annotations

import pytest
from recipe_world import World, handed_over, sample_rows, stopped, values

from stillroom.evals.gates import Candidate
from stillroom.programs.methods._grounding import Evidence, bucket, noisy, plain_header, repeats
from stillroom.programs.methods._imports import dependants
from stillroom.programs.methods._texts import chunks, cut, sections, tokens
from stillroom.programs.published import preset, records

PRESETS = [
    "afm-long-context", "humpback", "hunyuan-extraction", "llama3-long-code", "llama3-long-qa", "llama3-long-summary",
    "qwen2-repurposing", "qwen2-roleplay",
]  # fmt: skip


def quoting(inputs):
    """A question whose answer is a piece of the passage, and one whose answer is made up."""
    first = " ".join(inputs["passage"].split()[4:9]).strip(".,;:")
    return {
        "pairs": [{"question": "What is said?", "answer": first}, {"question": "Why?", "answer": "zinc and rhubarb"}]
    }


def world(score=5, **said) -> World:
    return World(
        {
            "instruct": lambda inputs: {"instruction": f"Write what begins {inputs['text'][:20]!r}."},
            "rate": lambda inputs: {"feedback": "It is on the point.", "score": score},
            "extract": quoting,
            "entail": lambda inputs: {"verdict": "no"},
            "generalise": lambda inputs: {"evolved": f"Generally: {inputs['instruction']}"},
            "answer": lambda inputs: {"response": f"Since you ask {inputs['instruction'][:30]!r}, gladly."},
            "summarise": lambda inputs: {"text": f"In short: {inputs['passage'][:40]}"},
            **said,
        }
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_rows_and_records(name, tmp_path):
    """On scripted calls and the sample rows, each preset gives rows, and records of every schema that it promises."""
    emitted = world().run(name, tmp_path, rows=4)
    assert 1 <= len(emitted.rows) <= 4
    for made in handed_over(name, emitted).values():
        assert len(made) == len(emitted.rows)
        assert all(each.meta.rows[0]["passport"]["parents"] for each in made)


@pytest.mark.acceptance("2.10 D1")
def test_the_completion_is_the_segment_byte_for_byte(tmp_path):
    """Also where a section holds what a cleaner would touch: runs of spaces, tabs, signs of other scripts."""
    odd = "Grüße  aus\tÅrhus — «à la carte» 東京.\n\n" + "Zeile um Zeile erzählt sie, was im Hafen geschah. " * 3
    body = odd + " ".join(f"Satz {n} ist nicht wie Satz {n * 7}, weil Haus {n * 13} dort steht." for n in range(9))
    page = {"title": "x", "text": f"# A\n\n## Hafen\n\n{body}\n\n## NEXT\n\n{body}\n"}
    pages = [*sample_rows("pages.jsonl"), page]
    for name in ("humpback", "qwen2-repurposing"):
        source = pages if name == "humpback" else sample_rows("literature.jsonl")
        emitted = world().run(name, tmp_path / name, given={"texts": source}, rows=100, params={"alike": 1.0})
        emits = preset(name).load().emits["sft"]
        assert emitted.rows
        for record in records(emits, "sft", list(emitted.rows)):
            place = record.meta.rows[0]["passport"]["target"]
            written = record.completion[0].content.encode()
            assert any(each["text"][place["start"] : place["end"]].encode() == written for each in source)
    assert any(
        body.strip() == row.values["response"]
        for row in world().run("humpback", tmp_path / "odd", given={"texts": [page]}, params={"alike": 1.0}).rows
    )


def test_sections_are_filtered_as_published(tmp_path):
    """Length in characters, headings of a page's furniture, repeated sentences: each side of each rule."""
    rules = dict(zip(("length", "heading", "repeated"), noisy(600, 3000, 0.8), strict=True))
    text = " ".join(f"Sentence {n} of this page tells of thing {n * 3} and of place {n * 5}." for n in range(60))
    sized = [rules["length"].why({"text": text[:n]}) == "" for n in (599, 600, 3000, 3001)]
    assert sized == [False, True, True, False]
    assert [bool(plain_header(each)) for each in ("", "ABOUT US", "Related posts", "Forum", "Feeding it")] == [
        True, True, True, True, False,
    ]  # fmt: skip
    assert repeats("The cat sat on the mat today. Then it left. The cat sat on the mat today.", 0.8)
    assert not repeats("The cat sat on the mat today. Then it left the old house.", 0.8)
    emitted = world(score=4).run("humpback", tmp_path / "low", rows=100)
    assert not emitted.rows
    assert stopped(emitted)["curation >= 4.5"] == 19
    assert stopped(emitted)["section length(600..3000)"] == 1
    assert len(world(score=4).run("humpback", tmp_path / "cut", rows=100, params={"cut": 4.0}).rows) == 19


def test_ratings_are_averaged_and_those_off_the_scale_do_not_count(tmp_path):
    """Three samples, of which two count."""
    scores = iter([5, 50, 4] * 40)
    emitted = world(rate=lambda inputs: {"feedback": "", "score": next(scores)}).run("humpback", tmp_path, rows=5)
    assert {row.values["score"] for row in emitted.rows} == {4.5}


@pytest.mark.acceptance("2.10 D2")
def test_an_answer_stands_in_its_chunk_and_the_papers_say_where(tmp_path):
    """Answers that are made up are dropped; the offsets lead to the answer in the document."""
    pages = {row["text"] for row in sample_rows("pages.jsonl")}
    for name in ("llama3-long-qa", "hunyuan-extraction"):
        here = world()
        emitted = here.run(name, tmp_path / name, rows=100)
        gate = next(each for each in stopped(emitted) if each.startswith("evidence"))
        assert stopped(emitted)[gate] == len(emitted.rows) == 10
        assert {each.values["question"] for each in emitted.rejects} <= {"Why?", None}
        for record in records(preset(name).load().emits["sft"], "sft", list(emitted.rows)):
            (verdict,) = [each for each in record.meta.rows[0]["passport"]["verdicts"] if each["gate"] == gate]
            start, end = verdict["found"]["start"], verdict["found"]["end"]
            quotes = [" ".join(text[start:end].split()) for text in pages]
            if name == "llama3-long-qa":
                assert quotes.count(record.completion[0].content) == 1
                assert record.prompt[0].content.removesuffix("\n\nWhat is said?") in pages
            assert verdict["by"] == ("judge" if name == "llama3-long-qa" else "verifier")


@pytest.mark.parametrize(
    ("answer", "entailment", "kept"),
    [
        ("the third feeding", None, True),
        ("THE  third\nfeeding.", None, True),
        ("third feed", None, False),  # ends within a word
        ("the third feeding it got", None, False),
        ("", None, False),
        ("paraphrase", 0.9, True),
        ("paraphrase", 0.89, False),
    ],
)
def test_both_sides_of_the_evidence(answer, entailment, kept):
    """Whole words whatever their case; else a probability of at least the threshold."""
    row = {"answer": answer, "passage": "Strong after the third feeding.", "start": 100, "entailment": entailment}
    (verdict,) = Evidence(0.9).check([Candidate("0", row, answer, {})])
    assert verdict.passed is kept
    if kept and entailment is None:
        assert verdict.found == {"start": 113, "end": 130}
    assert (
        not Evidence(0.0).check([Candidate("0", {**row, "answer": "paraphrase", "entailment": 1.0}, "", {})])[0].passed
    )


@pytest.mark.acceptance("2.10 D3")
def test_the_import_graph_finds_the_file_with_five_dependants(tmp_path):
    """Absolute and relative imports, packages and aliases count; a module of the same name elsewhere does not."""
    files = {
        "src/app/core.py": "X = 1\n",
        "src/app/__init__.py": "",
        "src/app/a.py": "from .core import X\n",
        "src/app/b.py": "from . import core\n",
        "src/app/c.py": "import app.core as c\n",
        "src/app/sub/__init__.py": "from ..core import X\n",
        "src/app/sub/d.py": "def f():\n    from app import core\n",
        "src/app/sub/core.py": "X = 2\n",
        "src/app/e.py": "import core\nfrom elsewhere.core import X\n",
        "src/app/broken.py": "from .core import (\n",
        "notes.txt": "from app.core import X",
    }
    users = dependants(files)
    five = ["src/app/a.py", "src/app/b.py", "src/app/c.py", "src/app/sub/__init__.py", "src/app/sub/d.py"]
    assert users["src/app/core.py"] == five
    assert [path for path, them in users.items() if len(them) >= 5] == ["src/app/core.py"]
    given = [{"repo": "app", "path": path, "text": text or "\n"} for path, text in files.items()]
    emitted = world().run("llama3-long-code", tmp_path / "five", given={"texts": given})
    assert values(emitted.rows, "response") == ["\n".join(five), "X = 1\n"]
    assert all("### src/app/core.py" not in row.values["context"] for row in emitted.rows)
    # one user less, and it stays where it is
    less = [row for row in given if row["path"] != "src/app/a.py"]
    assert not world().run("llama3-long-code", tmp_path / "four", given={"texts": less}).rows


def test_long_documents_are_balanced_over_their_buckets(tmp_path):
    """Any beginning of the run has the buckets in turns; what is longer than the last is left out."""
    assert [bucket(size, (16, 32)) for size in (1, 16, 17, 32, 33)] == [16, 16, 32, 32, None]
    given = [{"text": "Word of it. " * n} for n in (2, 3, 3, 3, 8, 8, 30)]
    job = world().job("llama3-long-qa", given={"texts": given}, params={"buckets": (16, 40), "chunk": 8})
    drawn = [wanted.asked["bucket"] for wanted in job.method.flow(job).source.wanted("rows")]
    assert drawn == [16, 40, 16, 40, 16, 16]


def test_a_summary_is_made_of_the_summaries_of_all_chunks(tmp_path):
    """Every chunk is asked about once, and the last asking holds all of their summaries."""
    here = world()
    given = [{"text": " ".join(f"Sentence {n} is about thing {n}." for n in range(40))}]
    (row,) = here.run("llama3-long-summary", tmp_path, given={"texts": given}, params={"chunk": 64}).rows
    parts = [piece.text for piece in chunks(given[0]["text"], 64)]
    asked = [inputs["passage"] for call, inputs in here.asked if call == "summarise"]
    assert len(parts) == 5
    assert asked == [*parts, "\n\n".join(f"In short: {part[:40]}".strip() for part in parts)]
    assert row.values["response"].startswith("In short: In short: Sentence 0")


def test_pieces_of_texts_are_never_altered():
    """Chunks and sections are slices of their text, none is too long, and nothing but white space lies between them."""
    for row in sample_rows("pages.jsonl"):
        text = row["text"]
        for most in (5, 40, 300):
            found = chunks(text, most)
            assert all(text[each.start : each.end] == each.text and tokens(each.text) <= most for each in found)
            assert "".join("".join(each.text.split()) for each in found) == "".join(text.split())
        assert [each.header for each in sections(text)] == [line[3:] for line in text.split("\n") if line[:3] == "## "]
    assert cut("One, two three.", 3) == "One, two"
    assert [each.header for each in sections("```\n# no heading\n```\n\nTitle\n=====\nbody")] == ["", "Title"]
