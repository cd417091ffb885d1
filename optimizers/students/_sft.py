"""LoRA fine-tuning of a GGUF model with TRL, on the CPU or on one CUDA device.

LoRA: Hu et al. 2022, https://arxiv.org/abs/2106.09685 (W + alpha/r * B A).
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillroom.errors import BadConfig

from ._packed import IGNORED, PackedCollator
from ._sft_rows import TokenRow

if TYPE_CHECKING:
    from .lora import LoraSettings

__all__ = ["Fit", "LowRank", "OnProgress", "fine_tuned", "only_completions_scored"]

OnProgress = Callable[[int, int, float], None]
"""Called after every optimiser step with (steps done, steps in all, loss of that step)."""


@dataclass(frozen=True)
class LowRank:
    """What LoRA adds to one weight: `scale * b @ a`, `b` (out, rank), `a` (rank, in), float32."""

    a: np.ndarray
    b: np.ndarray
    scale: float

    def dense(self) -> np.ndarray:
        """Return the (out, in) update."""
        return self.scale * (self.b @ self.a)


@dataclass(frozen=True)
class Fit:
    """A finished fine-tune: updates by transformers module name, and the loss of each step."""

    updates: Mapping[str, LowRank]
    losses: tuple[float, ...]


def fine_tuned(
    base_gguf: Path, rows: Sequence[TokenRow], settings: LoraSettings, on_progress: OnProgress | None = None
) -> Fit:
    """Fine-tune the model in `base_gguf` on `rows`. The same seed, rows and threads give the same student.

    An exception out of `on_progress` ends the training and reaches the caller.

    Raises:
        BadConfig: If the loss stops being a finite number.
    """
    losses: list[float] = []
    with _quiet(), _own_randomness(settings.seed), only_completions_scored(), tempfile.TemporaryDirectory() as scratch:
        trainer = _trainer(base_gguf, rows, settings, Path(scratch))
        trainer.add_callback(_loss_watch(losses, on_progress))
        trainer.train()
        return Fit(_updates(trainer.model), tuple(losses))


def _trainer(base_gguf: Path, rows: Sequence[TokenRow], settings: LoraSettings, scratch: Path) -> Any:
    """TRL's trainer over the dequantised model, with nothing reported, saved or sent anywhere."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(str(base_gguf.parent), gguf_file=base_gguf.name)  # for TRL's checks only
    on_gpu = torch.cuda.is_available()
    steps = planned_steps(len(rows), settings)
    arguments = SFTConfig(
        output_dir=str(scratch),
        max_steps=steps,
        per_device_train_batch_size=batch_of(len(rows), settings),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(max(1, steps // 20), steps - 1),
        weight_decay=0.0,
        bf16=_dtype() == "bfloat16",
        activation_checkpointing=False,
        max_length=None,  # rows were measured before; TRL would cut them silently
        dataset_kwargs={"skip_prepare_dataset": True},
        train_sampling_strategy="random",
        seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # TRL refuses transformers' several-GPU wrapper
    trainer = SFTTrainer(
        model=_loaded(base_gguf),
        args=arguments,
        train_dataset=Dataset.from_list(
            [
                {"input_ids": [*row.prompt, *row.completion], "labels": [IGNORED] * len(row.prompt) + [*row.completion]}
                for row in rows
            ]
        ),
        data_collator=PackedCollator(pad=tokenizer.pad_token_id or 0, tile=settings.tile, dtype=_dtype()),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def batch_of(rows: int, settings: LoraSettings) -> int:
    """Rows a step: `batch`, and fewer (but four) of few rows, which gain from more steps."""
    return min(rows, settings.batch, max(4, rows // 6))


def planned_steps(rows: int, settings: LoraSettings) -> int:
    """Optimiser steps: `epochs` over the rows, and no fewer than `min_steps`."""
    return max(settings.min_steps, settings.epochs * math.ceil(rows / batch_of(rows, settings)))


def _loaded(base_gguf: Path) -> Any:
    """The model of the GGUF file as plain dense weights."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no switch turns off
        return AutoModelForCausalLM.from_pretrained(
            str(base_gguf.parent),
            gguf_file=base_gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=getattr(torch, _dtype()),
            attn_implementation="eager",  # on a CPU a quarter faster than sdpa with a mask of ours
        )


def _dtype() -> str:
    """The torch dtype to train in: bfloat16 where the hardware multiplies it, else float32, there faster and exact."""
    import torch

    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return "bfloat16" if fast else "float32"


def _loss_watch(losses: list[float], on_progress: OnProgress | None) -> Any:
    """A callback that keeps each step's loss, passes it on and stops at the first that is not a number."""
    from transformers import TrainerCallback

    class LossWatch(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            loss = float(logs["loss"])
            if not math.isfinite(loss):
                raise BadConfig(
                    f"the loss must stay finite, got {loss} at step {state.global_step}",
                    mend="Lower learning_rate in LoraSettings.",
                )
            losses.append(loss)
            if on_progress:
                on_progress(state.global_step, state.max_steps, loss)

    return LossWatch()


def _updates(model: Any) -> dict[str, LowRank]:
    """The trained low-rank updates, by the name of the module in the plain transformers model."""
    prefix = "base_model.model."
    return {
        name.removeprefix(prefix): LowRank(
            module.lora_A["default"].weight.detach().float().cpu().numpy().copy(),
            module.lora_B["default"].weight.detach().float().cpu().numpy().copy(),
            float(module.scaling["default"]),
        )
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }


@contextlib.contextmanager
def only_completions_scored() -> Iterator[None]:
    """Have TRL score only the positions that bear loss, on the CPU too.

    TRL 1.16 does so where Triton runs, and elsewhere projects every prompt position
    on the whole vocabulary: equal losses for twice the time. It asks one function.
    """
    from trl.trainer import utils

    before = utils._use_triton
    utils._use_triton = lambda device: True
    try:
        yield
    finally:
        utils._use_triton = before


@contextlib.contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Seed every generator that training draws from, and give them back as they were."""
    import torch
    from transformers import set_seed

    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and TRL's calls to its deprecated names off the terminal."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    log = logging.getLogger("transformers")
    level = log.level
    transformers_logging.disable_progress_bar()
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*gradient_checkpointing.*", FutureWarning)
            yield
    finally:
        log.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
