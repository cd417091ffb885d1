"""The LoRA student: bad rows, fingerprints, reuse, the packed batch, the GGUF export, and one real training."""

from __future__ import annotations

import contextlib
import fcntl
import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.errors import BadConfig, BadData, FingerprintChanged, ModelMissing, RunLocked
from stillroom.optimizers.students import _sft, lora
from stillroom.optimizers.students._gguf import merged_gguf, permuted
from stillroom.optimizers.students._packed import IGNORED, lay_out, shared_prefix
from stillroom.optimizers.students._sft import Fit, LowRank, planned_steps
from stillroom.optimizers.students._sft_rows import TokenRow, check_conversations, tokenised
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
    [(1, 20), (50, 20), (96, 20), (97, 21), (500, 96)],
)
def test_few_rows_are_seen_more_often(rows, steps):
    """Epochs decide, but never fewer than `min_steps`."""
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


# --- the packed batch --------------------------------------------------------------------------


@st.composite
def batches(draw):
    shared = draw(st.lists(st.integers(1, 5), max_size=6))
    tokens = st.lists(st.integers(1, 5), min_size=1, max_size=7)
    rows = draw(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=6))
    return [
        {"input_ids": [*shared, *prompt, *answer], "labels": [IGNORED] * len(shared + prompt) + answer}
        for prompt, answer in rows
    ]


@settings(max_examples=150, deadline=None)
@given(batches(), st.integers(1, 20))
def test_each_row_sees_itself_and_nothing_else(features, tile):
    """What a position sees is its own row up to itself at the row's own positions, whatever lies beside it."""
    packed = lay_out(features, pad=0, tile=tile)
    scored = []
    for ids, labels, positions, visible in zip(
        packed["input_ids"], packed["labels"], packed["position_ids"], packed["visible"], strict=True
    ):
        assert visible.any(axis=1).all()  # a query that sees nothing would make NaN
        assert labels[0] == IGNORED
        for place in np.flatnonzero(labels != IGNORED):
            seen = np.flatnonzero(visible[place - 1])  # the position that predicts this label
            assert positions[seen].tolist() == list(range(len(seen)))
            scored.append((*ids[seen].tolist(), int(labels[place])))
    wanted = [
        tuple(feature["input_ids"][: place + 1])
        for feature in features
        for place, label in enumerate(feature["labels"])
        if label != IGNORED
    ]
    assert sorted(scored) == sorted(wanted)


def test_the_common_beginning_is_computed_once():
    """Three rows of ten tokens, seven of them shared, take sixteen places in place of thirty."""
    beginning = [9] * 7
    features = [{"input_ids": [*beginning, k, k, k], "labels": [IGNORED] * 8 + [k, k]} for k in (1, 2, 3)]
    assert shared_prefix(features) == 7
    assert lay_out(features, pad=0, tile=100)["input_ids"].shape == (1, 16)


# --- the export --------------------------------------------------------------------------------

HEADS, KV_HEADS, WIDTH = 4, 2, 64


def tiny_gguf(path: Path, architecture: str = "llama") -> Path:
    """A model file of one block with the metadata an export needs."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "é"])
    writer.add_chat_template("{{ messages }}")
    rng = np.random.default_rng(0)
    for name, rows in (("attn_q", WIDTH), ("attn_k", WIDTH // 2), ("ffn_up", 96)):
        weight = rng.normal(size=(rows, WIDTH)).astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q4_1
        writer.add_tensor(f"blk.0.{name}.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return {each.name: gguf.quants.dequantize(each.data, each.tensor_type) for each in gguf.GGUFReader(path).tensors}


def update_for(rows: int, scale: float = 0.5) -> LowRank:
    rng = np.random.default_rng(rows)
    return LowRank(rng.normal(size=(2, WIDTH)).astype(np.float32), rng.normal(size=(rows, 2)).astype(np.float32), scale)


def test_permuting_puts_rotary_halves_side_by_side():
    """Rows i and i + d/2 of each head become neighbours."""
    weight = np.arange(8).reshape(8, 1)  # two heads of four rows
    assert permuted(weight, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(("precision", "gap"), [("q8_0", 0.04), ("f16", 0.005)])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_updates_are_merged_where_they_belong(tmp_path, precision, gap, architecture):
    """Base plus update in the file's own row order; what was not trained stays byte for byte."""
    base = tiny_gguf(tmp_path / "base.gguf", architecture)
    query, up = update_for(WIDTH), update_for(96)
    updates = {"model.layers.0.self_attn.q_proj": query, "model.layers.0.mlp.up_proj": up}
    merged_gguf(base, updates, tmp_path / "out.gguf", precision, {"stillroom.note": "mine"})
    before, after = weights_of(base), weights_of(tmp_path / "out.gguf")
    turned = permuted(query.dense(), HEADS) if architecture == "llama" else query.dense()
    np.testing.assert_allclose(after["blk.0.attn_q.weight"], before["blk.0.attn_q.weight"] + turned, atol=gap)
    np.testing.assert_allclose(after["blk.0.ffn_up.weight"], before["blk.0.ffn_up.weight"] + up.dense(), atol=gap)
    for name in ("blk.0.attn_k.weight", "blk.0.attn_norm.weight"):
        assert np.array_equal(after[name], before[name])


def test_the_export_keeps_tokenizer_and_template(tmp_path):
    """Every metadata entry of the base is there once; file type and notes are new."""
    base = tiny_gguf(tmp_path / "base.gguf")
    merged_gguf(base, {}, tmp_path / "out.gguf", "q8_0", {"stillroom.note": "é"})
    read = [
        {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items() if "GGUF." not in name}
        for path in (base, tmp_path / "out.gguf")
    ]
    changed = {"general.file_type": int(gguf.LlamaFileType.MOSTLY_Q8_0), "stillroom.note": "é"}
    assert read[1] == {**read[0], **changed}


def test_an_unknown_weight_layout_is_refused(tmp_path):
    """Better no student than one with scrambled attention."""
    base = tiny_gguf(tmp_path / "base.gguf", "gptneox")
    with pytest.raises(BadConfig, match="must be one of llama, qwen2, got 'gptneox'"):
        merged_gguf(base, {}, tmp_path / "out.gguf", "q8_0")


@pytest.mark.parametrize("module", ["model.layers.0.mlp.down_proj", "model.layers.7.mlp.up_proj", "odd.name"])
def test_an_update_without_a_weight_is_refused(tmp_path, module):
    """Nothing trained is dropped silently."""
    base = tiny_gguf(tmp_path / "base.gguf")
    with pytest.raises(BadConfig, match="every update must fit a weight"):
        merged_gguf(base, {module: update_for(96)}, tmp_path / "out.gguf", "q8_0")


# --- the real model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm() -> Path:
    from stillroom.engines.files import find

    try:
        return find("smollm2-135m").path
    except ModelMissing as error:
        pytest.skip(f"NOT RUN, no SmolLM2-135M on this machine: {error}")


@pytest.fixture(scope="module")
def student(smollm, tmp_path_factory):
    """A student that learned three answers by heart, in a quarter of a minute."""
    few = LoraSettings(min_steps=15, epochs=1, batch=3, learning_rate=1e-3)
    return train(smollm, ROWS, tmp_path_factory.mktemp("student"), few)


def losses_of(base: Path, rows: list[TokenRow], steps: int = 2) -> tuple[float, ...]:
    return _sft.fine_tuned(base, rows, LoraSettings(min_steps=steps, epochs=1, batch=4)).losses


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
def test_scoring_completions_only_leaves_the_loss(smollm, monkeypatch):
    """TRL's switch exists in the pinned version, is put back, and changes time alone."""
    from trl.trainer import utils

    assert callable(utils._use_triton)
    before = utils._use_triton
    rows = tokenised(smollm, ROWS, 512)
    quick = losses_of(smollm, rows)
    assert utils._use_triton is before
    monkeypatch.setattr(_sft, "only_completions_scored", contextlib.nullcontext)
    assert losses_of(smollm, rows) == pytest.approx(quick, abs=1e-3)


@pytest.mark.model
def test_the_packed_batch_has_the_loss_of_the_padded_one(smollm, monkeypatch):
    """In float32 the losses agree over steps, so the gradients do too."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    monkeypatch.setattr(_sft, "_dtype", lambda: "float32")
    rows = tokenised(smollm, ROWS, 512)
    packed = losses_of(smollm, rows, 3)
    monkeypatch.setattr(_sft, "PackedCollator", lambda pad, tile, dtype: DataCollatorForLanguageModeling(pad))
    assert packed == pytest.approx(losses_of(smollm, rows, 3), abs=2e-4)


@pytest.mark.model
def test_the_exported_student_answers_as_trained(student):
    """The file, reloaded in the local engine, gives the answers that were trained, and ends there."""
    from stillroom.engines.local import LocalEngine

    dspy_lm15 = pytest.importorskip("dspy.lm15")
    engine = LocalEngine(student.path, name="student", digest=student.sha256[:12])
    try:
        for row in ROWS:
            request = dspy_lm15.Request(
                model=engine.model,
                system=row[0]["content"],
                messages=(dspy_lm15.Message.user(row[1]["content"]),),
                config=dspy_lm15.Config(temperature=0.0, max_tokens=20),
            )
            assert engine.complete(request).message.text == row[-1]["content"]
    finally:
        engine.close()


@pytest.mark.model
def test_the_export_reproduces_the_merged_model(student, smollm, monkeypatch):
    """Base plus updates in transformers and the exported file give nearly the same next-token scores."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    exported = AutoModelForCausalLM.from_pretrained(
        str(student.path.parent),
        gguf_file=student.path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    fits: list[Fit] = []
    original = lora.fine_tuned

    def watched(*args):
        fits.append(original(*args))
        return fits[-1]

    monkeypatch.setattr(lora, "fine_tuned", watched)
    again = train(smollm, ROWS, student.path.parent / "again", student.settings)
    assert again.losses == student.losses  # the same seed gives the same student
    monkeypatch.setattr(_sft, "_dtype", lambda: "float32")
    merged = _sft._loaded(smollm)
    modules = dict(merged.named_modules())
    for name, update in fits[0].updates.items():
        modules[name].weight.data += torch.from_numpy(update.dense())
    ids = torch.tensor([tokenised(smollm, [conversation("where is my card", "x")], 512)[0].prompt])
    with torch.no_grad():
        wanted, got = (model(ids).logits[0].log_softmax(-1) for model in (merged, exported))
    assert (wanted.argmax(-1) == got.argmax(-1)).float().mean() > 0.9
    assert (wanted.exp() * (wanted - got)).sum(-1).mean() < 0.02
