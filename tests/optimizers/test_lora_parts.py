"""What the LoRA student is made with: the packed batch and the GGUF export."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.errors import BadConfig
from stillroom.optimizers.students._gguf import merged_gguf, permuted
from stillroom.optimizers.students._packed import IGNORED, lay_out, shared_prefix
from stillroom.optimizers.students._sft import LowRank

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
