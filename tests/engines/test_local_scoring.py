"""Reading scores off an echo, and the files behind the local engine, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from stillroom.engines.local._batch import Output
from stillroom.engines.local._blocks import FACTOR, Affine, as_bytes, unpack_nibbles
from stillroom.engines.local._lora import read_lora
from stillroom.engines.local._prefixes import BLOCK
from stillroom.engines.local._scoring import Echoes, head_of
from stillroom.errors import BadConfig, ModelMissing

MODULES = {"model.layers.0.self_attn.q_proj"}


def output(*logprobs: float) -> Output:
    return Output((1,), logprobs, "length")


@given(st.integers(0, 200))
def test_the_head_is_whole_blocks_and_leaves_a_token(length: int) -> None:
    """What the continuations share leaves no partly filled block behind."""
    head = head_of(range(length))
    assert len(head) % BLOCK == 0
    assert 0 <= length - len(head) <= BLOCK
    assert len(head) < max(length, 1)


def test_the_last_two_numbers_are_not_the_continuation_s() -> None:
    """They belong to the salt and to the token that had to be generated."""
    echoes = Echoes(range(50, 60), 100)
    echo = echoes.ask([1, 2, 3], [4, 5])
    assert echo.ids == (1, 2, 3, 4, 5, 50)
    assert echoes.read(echo, output(1.0, -9.0, -9.0, -0.5, -0.25, -7.0, -8.0)) == -0.75


def test_no_two_echoes_end_alike_for_a_while() -> None:
    """Or the second would be found in the cache."""
    echoes = Echoes(range(50, 60), 100)
    assert len({echoes.ask([1], [2]).ids for _ in range(10)}) == 10


def test_a_block_found_again_was_scored_before() -> None:
    """The numbers that do not come a second time are those of the first."""
    echoes = Echoes(range(500, 600), 100)
    prompt, continuation = range(BLOCK - 2), range(100, 104)
    first = echoes.ask(prompt, continuation)
    assert echoes.read(first, output(-1.0, -2.0, -3.0, -4.0, -7.0, -8.0)) == -10.0
    again = echoes.ask(prompt, continuation)  # its first two tokens end a block: the score of the third is lost too
    assert echoes.read(again, output(-7.0, -8.0)) is None
    assert echoes.read(again, output(-4.5, -7.0, -8.0)) == -10.5


def test_a_block_found_under_another_continuation_is_no_help() -> None:
    """The token after it is another, and its score was never given out."""
    echoes = Echoes(range(500, 600), 100)
    prompt = range(BLOCK - 2)
    assert echoes.read(echoes.ask(prompt, (1, 2, 3, 4)), output(-1.0, -2.0, -3.0, -4.0, -7.0, -8.0)) == -10.0
    assert echoes.read(echoes.ask(prompt, (1, 2, 9, 4)), output(-4.5, -7.0, -8.0)) is None
    # the whole of it lies within the block
    assert echoes.read(echoes.ask(prompt, (1, 2)), output(-7.0, -8.0)) is None
    assert echoes.read(echoes.ask(prompt, (1, 2)), output(-1.0, -2.0, -7.0, -8.0)) == -3.0
    assert echoes.read(echoes.ask(prompt, (1, 2)), output(-8.0)) == -3.0


def test_a_prompt_of_whole_blocks_loses_only_the_first_score() -> None:
    """Its last block was no head, and is found by the second that scores the same."""
    echoes = Echoes(range(500, 600), 100)
    assert echoes.read(echoes.ask(range(BLOCK), (1, 2)), output(-1.0, -2.0, -7.0, -8.0)) == -3.0
    assert echoes.read(echoes.ask(range(BLOCK), (1, 2)), output(-2.5, -7.0, -8.0)) == -3.5


def test_scores_that_are_nowhere_are_missed() -> None:
    """Not taken for zero."""
    echoes = Echoes(range(500, 600), 100)
    echo = echoes.ask(range(BLOCK - 2), range(100, 104))
    assert echoes.read(echo, output(-4.0, -7.0, -8.0)) is None
    assert echoes.read(echo, Output((), (), "full")) is None


@given(st.integers(0, 2**32 - 1))
def test_bytes_hold_four_bit_blocks_to_a_thirtieth_of_their_step(seed: int) -> None:
    """Zero is anywhere between the smallest and the largest weight of a usual block."""
    rng = np.random.default_rng(seed)
    d = rng.uniform(0.01, 1.0, (2, 3)).astype(np.float16).astype(np.float32)
    affine = Affine("t", d, (-d * rng.uniform(0, 16, d.shape)).astype(np.float32))
    q = rng.integers(0, 16, (2, 3, 32), dtype=np.uint8)
    codes, zeros, steps = as_bytes(q, affine)
    got = (codes.astype(np.float32) - zeros) * steps.astype(np.float32)
    wanted = affine.d[..., None] * q + affine.m[..., None]
    assert np.abs(got - wanted).max(axis=-1) == pytest.approx(0, abs=1.0 / (2 * FACTOR) + 0.02)


@pytest.mark.parametrize(("d", "m"), [(0.0, -0.5), (0.0, 0.5), (0.0, 0.0), (0.1, 0.4), (0.1, -3.0)])
def test_odd_blocks_are_held_too(d: float, m: float) -> None:
    """Constant ones, and those on one side of zero."""
    affine = Affine("t", np.full((1, 1), d, np.float32), np.full((1, 1), m, np.float32))
    q = np.arange(32, dtype=np.uint8).reshape(1, 1, 32) % 16
    codes, zeros, steps = as_bytes(q, affine)
    got = (codes.astype(np.float32) - zeros) * steps.astype(np.float32)
    assert got == pytest.approx(d * q.astype(np.float32) + m, abs=0.02)


def test_nibbles_come_low_first() -> None:
    """As OpenVINO packs u4."""
    packed = np.arange(16, dtype=np.uint8) * 16 + 3
    assert unpack_nibbles(packed, (1, 1))[0, 0].tolist()[:4] == [3, 0, 3, 1]


def lora(folder: Path, module: str = "model.layers.0.self_attn.q_proj", **settings: Any) -> Path:
    save_file(
        {f"base_model.model.{module}.lora_A.weight": np.zeros((2, 4), np.float32)}, folder / "adapter_model.safetensors"
    )
    known = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(known | settings))
    return folder


def test_a_lora_is_scaled_as_peft_scales_it(tmp_path: Path) -> None:
    """Alpha over rank, or over its root; folder and file alike."""
    assert read_lora(lora(tmp_path), MODULES).scale == 2.0
    assert read_lora(lora(tmp_path, use_rslora=True) / "adapter_model.safetensors", MODULES).scale == 4.0


@pytest.mark.parametrize("change", [{"use_dora": True}, {"bias": "all"}, {"peft_type": "IA3"}, {"module": "lm_head"}])
def test_more_than_plain_lora_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """What would be left out silently is said instead, with the way round it."""
    with pytest.raises(BadConfig) as caught:
        read_lora(lora(tmp_path, **change), MODULES)
    assert "GGUF" in caught.value.mend


def test_a_lora_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(ModelMissing, match="adapter_model"):
        read_lora(tmp_path, MODULES)
