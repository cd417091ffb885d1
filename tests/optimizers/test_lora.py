"""The LoRA student: bad rows, fingerprints, reuse, and one real training."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
from dataclasses import replace
from pathlib import Path

import pytest

from stillroom.errors import BadConfig, BadData, FingerprintChanged, ModelMissing, RunLocked, RunReadOnly
from stillroom.optimizers.students import _sft, lora
from stillroom.optimizers.students._sft import Fit, planned_steps
from stillroom.optimizers.students._sft_rows import check_conversations, tokenised
from stillroom.optimizers.students.lora import LoraSettings, fingerprint, load, train

ANSWERS = {
    "my card is gone": "card_lost",
    "what is a euro worth": "exchange_rate",
    "top up did not work": "top_up_failed",
}


def conversation(message: str, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "Name the intent."},
        {"role": "user", "content": message},
        {"role": "assistant", "content": answer},
    ]


ROWS = [conversation(message, answer) for message, answer in ANSWERS.items()]


# --- rows and settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ([], "needs a message and an answer"),
        (ROWS[0][-1:], "needs a message and an answer"),
        ("text", "must be a list of messages, got str"),
        ([{"role": "user"}, ROWS[0][-1]], "message 1 must have role and content"),
        ([{"role": "human", "content": "x"}, ROWS[0][-1]], "unknown role 'human'"),
        ([{"role": "user", "content": 3}, ROWS[0][-1]], "must have text as content, got int"),
        ([{"role": "user", "content": "\ud800"}, ROWS[0][-1]], "not valid Unicode"),
        (ROWS[0][:-1], "the last message must be the assistant's, got 'user'"),
        ([ROWS[0][1], {"role": "assistant", "content": " \n"}], "answer must not be empty"),
    ],
)
def test_a_bad_row_is_named_with_its_number_and_rule(row, rule):
    """The good rows around a bad one are not blamed."""
    with pytest.raises(BadData, match="1 are not") as caught:
        check_conversations([ROWS[0], row, ROWS[1]])
    assert caught.value.problems[0].startswith("row 2: ")
    assert rule in caught.value.problems[0]


def test_no_rows_are_refused():
    """An empty training set is an error of the user, told before any model is looked for."""
    with pytest.raises(BadData, match="at least one conversation, got 0"):
        train(Path("absent.gguf"), [], Path("unused"))


def test_a_missing_base_is_said(tmp_path):
    """The path is in the message, and no folder is made."""
    with pytest.raises(ModelMissing, match=r"absent\.gguf"):
        train(tmp_path / "absent.gguf", ROWS, tmp_path / "student")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("min_steps", 0),
        ("rank", 0),
        ("alpha", 0),
        ("batch", 0),
        ("tile", 0),
        ("max_length", 7),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("export", "q4_1"),
    ],
)
def test_settings_that_cannot_work_are_refused(name, value):
    """At construction, with the name of the setting."""
    with pytest.raises(BadConfig, match=name):
        LoraSettings(**{name: value})


@pytest.mark.parametrize(
    ("rows", "steps"),
    [(1, 20), (12, 20), (50, 21), (96, 20), (107, 21), (500, 96)],
)
def test_few_rows_are_seen_more_often(rows, steps):
    """Epochs decide, in smaller batches, but never fewer than `min_steps`."""
    assert planned_steps(rows, LoraSettings(epochs=3, batch=16, min_steps=20)) == steps


def test_the_fingerprint_changes_with_everything_that_matters():
    """Base, rows, their order and every setting; and with nothing else."""
    seen = {
        fingerprint("a", ROWS, LoraSettings()),
        fingerprint("b", ROWS, LoraSettings()),
        fingerprint("a", ROWS[:2], LoraSettings()),
        fingerprint("a", ROWS[::-1], LoraSettings()),
        *(
            fingerprint("a", ROWS, replace(LoraSettings(), **change))
            for change in ({"epochs": 9}, {"rank": 4}, {"seed": 8}, {"export": "f16"}, {"learning_rate": 1e-5})
        ),
    }
    assert len(seen) == 9
    assert fingerprint("a", [list(map(dict, row)) for row in ROWS], LoraSettings()) in seen


# --- the folder --------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.gguf"
    path.write_bytes(b"base weights")
    return path


@pytest.fixture
def trainings(monkeypatch):
    """Training that takes no time: the losses given here, or an exception raised half-way."""
    runs: list[list[float] | BaseException] = []

    def fine_tuned(base_gguf, rows, settings, on_progress):
        outcome = runs.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return Fit({}, tuple(outcome))

    def merged(base_gguf, updates, target, precision, notes):
        target.write_bytes(json.dumps(notes).encode())

    monkeypatch.setattr(lora, "tokenised", lambda *_: [])
    monkeypatch.setattr(lora, "fine_tuned", fine_tuned)
    monkeypatch.setattr(lora, "merged_gguf", merged)
    return runs


def test_a_finished_student_is_reused(base, tmp_path, trainings):
    """The same base, rows and settings: read back as it was, nothing trained."""
    trainings.append([2.0, 1.0])
    first = train(base, ROWS, tmp_path / "s")
    assert train(base, ROWS, tmp_path / "s") == first
    assert load(tmp_path / "s") == first
    assert (first.steps, first.final_loss, first.rows) == (2, 1.0, 3)
    record = json.loads((tmp_path / "s" / "student.json").read_text())
    assert record["sha256"] == first.sha256
    assert record["losses"] == [2.0, 1.0]
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"student.gguf", "student.json", "student.lock"}


def test_a_student_of_something_else_is_not_overwritten(base, tmp_path, trainings):
    """Other rows in the same folder are refused, and the student there stays."""
    trainings.append([1.0])
    first = train(base, ROWS, tmp_path)
    with pytest.raises(FingerprintChanged, match="another base, rows or settings"):
        train(base, ROWS[:2], tmp_path)
    assert load(tmp_path) == first


@pytest.mark.parametrize("end", [KeyboardInterrupt(), MemoryError()])
def test_a_killed_training_leaves_no_student(base, tmp_path, trainings, end):
    """Nothing to load afterwards, and the next call trains."""
    trainings.extend([end, [1.0]])
    with pytest.raises(type(end)):
        train(base, ROWS, tmp_path)
    assert load(tmp_path) is None
    assert train(base, ROWS, tmp_path).steps == 1


@pytest.mark.parametrize("damage", ["weights changed", "weights gone", "record cut", "record of another kind"])
def test_a_damaged_student_is_trained_again(base, tmp_path, trainings, damage):
    """A record vouches for its weights by digest; without both there is no student."""
    trainings.extend([[1.0], [3.0]])
    train(base, ROWS, tmp_path)
    weights, record = tmp_path / "student.gguf", tmp_path / "student.json"
    {
        "weights changed": lambda: weights.write_bytes(b"other"),
        "weights gone": weights.unlink,
        "record cut": lambda: record.write_text(record.read_text()[:40]),
        "record of another kind": lambda: record.write_text('["kind"]'),
    }[damage]()
    assert load(tmp_path) is None
    assert train(base, ROWS, tmp_path).losses == (3.0,)


def test_two_trainings_do_not_share_a_folder(base, tmp_path, trainings):
    """The second is told at once that the first holds the folder."""
    with (tmp_path / "student.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunLocked, match="another process"):
            train(base, ROWS, tmp_path)


def test_a_folder_that_cannot_be_written_is_said(base, tmp_path, trainings):
    """Before any training; here a file stands in the folder's place."""
    with pytest.raises(RunReadOnly, match=r"base\.gguf is not: "):
        train(base, ROWS, base)


# --- the real model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm() -> Path:
    from stillroom.engines.files import find

    try:
        return find("smollm2-135m").path
    except ModelMissing as error:
        pytest.skip(f"NOT RUN, no SmolLM2-135M on this machine: {error}")


@pytest.fixture(scope="module")
def dense(smollm):
    """The model in float32, read once; every training of this file starts from a copy of it."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sft, "_dtype", lambda: "float32")
        model = _sft._loaded(smollm)
        patch.undo()
        patch.setattr(_sft, "_loaded", lambda _: copy.deepcopy(model).to(getattr(torch, _sft._dtype())))
        yield model


@pytest.fixture(scope="module")
def learned(smollm, dense, tmp_path_factory):
    """A student that learned three answers by heart, and the updates that it was written from."""
    fits: list[Fit] = []
    few = LoraSettings(min_steps=15, epochs=1, batch=3, learning_rate=1e-3)
    seen: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        original = lora.fine_tuned
        patch.setattr(lora, "fine_tuned", lambda *args: fits.append(original(*args)) or fits[-1])
        student = train(
            smollm,
            ROWS,
            tmp_path_factory.mktemp("student"),
            few,
            on_progress=lambda step, steps, _: seen.append((step, steps)),
        )
    assert seen == [(step, 15) for step in range(1, 16)]
    return student, fits[0].updates


@pytest.mark.model
def test_training_reads_the_text_that_inference_renders(smollm):
    """Prompt tokens spell what transformers renders from the same template, default system prompt included."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(smollm.parent), gguf_file=smollm.name)
    bare = [{"role": "user", "content": "gone  2 cards"}, {"role": "assistant", "content": "card_lost"}]
    for row, tokens in zip([ROWS[0], bare], tokenised(smollm, [ROWS[0], bare], 512), strict=True):
        rendered = theirs.apply_chat_template(row[:-1], add_generation_prompt=True, tokenize=False)
        assert theirs.decode(tokens.prompt) == rendered
        assert theirs.decode(tokens.completion) == row[-1]["content"] + theirs.eos_token
    assert "You are a helpful AI assistant" in theirs.decode(tokens.prompt)


@pytest.mark.model
def test_a_row_too_long_is_refused_not_cut(smollm):
    """The row is named with its length."""
    with pytest.raises(BadData, match="at most max_length=20 tokens, 1 have more") as caught:
        tokenised(smollm, [conversation("hi " * 40, "x")], 20)
    assert caught.value.problems[0].startswith("row 1: ")


@pytest.mark.model
def test_the_two_savings_leave_the_losses(smollm, dense, monkeypatch):
    """Scoring completions only (TRL's own switch, still there) and packing change time alone.

    In float32 the losses of later steps agree as well, so the gradients do.
    """
    from trl.trainer import utils
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    def losses() -> tuple[float, ...]:
        return _sft.fine_tuned(smollm, rows, LoraSettings(min_steps=2, epochs=1, batch=2)).losses

    before = utils._use_triton
    assert callable(before)
    rows = tokenised(smollm, ROWS, 512)
    monkeypatch.setattr(_sft, "_dtype", lambda: "float32")
    quick = losses()
    assert utils._use_triton is before
    with monkeypatch.context() as patch:
        patch.setattr(_sft, "only_completions_scored", contextlib.nullcontext)
        assert losses() == pytest.approx(quick, abs=2e-4)
    monkeypatch.setattr(_sft, "PackedCollator", lambda pad, tile, dtype: DataCollatorForLanguageModeling(pad))
    assert losses() == pytest.approx(quick, abs=2e-4)


@pytest.mark.model
def test_the_exported_student_answers_as_trained(learned):
    """The file, reloaded in the local engine, gives the answers that were trained, and ends there."""
    from dspy.lm15 import Config, Message, Request

    from stillroom.engines.local import LocalEngine

    student = learned[0]
    engine = LocalEngine(student.path, name="student", digest=student.sha256[:12])
    try:
        requests = [
            Request(
                model=engine.model,
                system=row[0]["content"],
                messages=(Message.user(row[1]["content"]),),
                config=Config(temperature=0.0, max_tokens=20),
            )
            for row in ROWS
        ]
        assert [answer.message.text for answer in engine.complete_many(requests)] == list(ANSWERS.values())
    finally:
        engine.close()


@pytest.mark.model
def test_the_export_reproduces_the_merged_model(learned, smollm, dense):
    """Transformers reads the exported file and finds nearly the scores of base plus updates."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    student, updates = learned
    exported = AutoModelForCausalLM.from_pretrained(
        str(student.path.parent),
        gguf_file=student.path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    merged = copy.deepcopy(dense)
    for name, update in updates.items():
        merged.get_submodule(name).weight.data += torch.from_numpy(update.dense())
    assert len(updates) == 7 * 30  # every linear layer of every block
    ids = torch.tensor([tokenised(smollm, [conversation("where is my card", "x")], 512)[0].prompt])
    with torch.no_grad():
        wanted, got = (model(ids).logits[0].log_softmax(-1) for model in (merged, exported))
    assert (wanted.argmax(-1) == got.argmax(-1)).float().mean() > 0.9
    assert (wanted.exp() * (wanted - got)).sum(-1).mean() < 0.02
