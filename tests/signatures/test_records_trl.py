"""Exports at TRL's own trainers: each takes the written table unchanged, prepares it and trains a step on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from records_world import FIELDS, config, row, tokenizer

from stillroom.signatures.records import SCHEMAS, TRAINERS, Record, as_trl, build, trl_schema, write_folder

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and transformers' own, about a model this small

OTHER = {"unpaired": {"label": False, "completion": "five"}, "verifiable": {"solution": "$5$"}}
HAVE = [(name, trainer) for name in SCHEMAS if name != "audit" for trainer in TRAINERS[trl_schema(name)]]


def exported(name: str, folder: Path) -> tuple[datasets.Dataset, list[Record]]:
    """Two rows of a schema as a trainer's dataset, and the records it was written from."""
    rows = [row(FIELDS[name], "x/0/0"), row({**FIELDS[name], **OTHER.get(name, {})}, "x/1/0")]
    records = list(as_trl(build(SCHEMAS[name], each) for each in rows))
    write_folder(records, trl_schema(name), folder / "data")
    return datasets.load_from_disk(str(folder / "data")), records


def words(records: list[Record]) -> Any:
    return tokenizer([json.dumps(each.fields()).replace('"', " ").replace("\\n", " ") for each in records])


def arguments(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "out"), "max_steps": 1, "per_device_train_batch_size": 2, "report_to": "none",
        "save_strategy": "no", "use_cpu": True, "bf16": False, "disable_tqdm": True, "logging_strategy": "no", **more,
    }  # fmt: skip


def trained(trainer: str, data: datasets.Dataset, folder: Path, processing: Any) -> Any:
    """The trainer after one step."""
    import trl
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification
    from trl.rewards import accuracy_reward

    size = len(processing)
    common = {"train_dataset": data, "processing_class": processing}
    if trainer == "RewardTrainer":
        model = LlamaForSequenceClassification(config(size, num_labels=1))
        made = trl.RewardTrainer(model, args=trl.RewardConfig(**arguments(folder)), **common)
    elif trainer == "GRPOTrainer":
        more = {"max_completion_length": 4, "num_generations": 2}
        made = trl.GRPOTrainer(
            LlamaForCausalLM(config(size)),
            reward_funcs=accuracy_reward,
            args=trl.GRPOConfig(**arguments(folder, **more)),
            **common,
        )
    else:
        kind = trainer.removesuffix("Trainer")
        settings = getattr(trl, f"{kind}Config")(**arguments(folder))
        # a model of no file has to be given its reference
        more = {} if kind == "SFT" else {"ref_model": LlamaForCausalLM(config(size))}
        made = getattr(trl, trainer)(LlamaForCausalLM(config(size)), args=settings, **more, **common)
    made.train()
    return made


@pytest.mark.parametrize(("name", "trainer"), HAVE)
def test_the_trainer_takes_it(name: str, trainer: str, tmp_path: Path):
    """Unchanged, `meta` beside the columns it reads."""
    data, records = exported(name, tmp_path)
    processing = words(records)
    made = trained(trainer, data, tmp_path, processing)
    assert made.state.global_step == 1
    assert len(made.train_dataset) == len(records)
    assert [json.loads(each)["id"] for each in data["meta"]] == [each.meta.id for each in records]
    if trainer == "SFTTrainer":  # what is learned is what the record says
        learned = [processing.decode(each) for each in made.train_dataset["input_ids"]]
        said = "is four" if name == "text" else "Score: 1" if name == "critique" else "four"
        assert all(f"{said} <eos>" in " ".join(each.split()) for each in learned)


def test_all_trainers_that_are_named_are_tried():
    """And TRL has each of them."""
    import trl

    named = {trainer for trainers in TRAINERS.values() for trainer in trainers}
    assert {trainer for _, trainer in HAVE} == named
    assert all(hasattr(trl, each) for each in named)


def test_completions_alone_are_learned(tmp_path: Path):
    """Of prompt and completion, TRL masks the prompt."""
    data, records = exported("sft", tmp_path)
    made = trained("SFTTrainer", data, tmp_path, processing := words(records))
    kept = [token for token in made.train_dataset[0]["labels"] if token != -100]
    assert processing.decode(kept).split() == ["four", "<eos>"]


def test_tools_reach_the_template(tmp_path: Path):
    """Schemas and arguments as objects, also where two tools have different ones."""
    other = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    record = build(SCHEMAS["tool"], row({**FIELDS["tool"], "tools": [*FIELDS["tool"]["tools"], other]}))
    write_folder([record], "tool", tmp_path / "data")
    data = datasets.load_from_disk(str(tmp_path / "data"))
    assert data[0]["tools"] == [*FIELDS["tool"]["tools"], other]
    text = tokenizer(["x"]).apply_chat_template(data[0]["messages"], tools=data[0]["tools"], tokenize=False)
    assert '"name": "now"' in text
    assert 'add {"a": 2, "b": 0.3' in text


def test_steps_stay_in_the_format_that_was_trls(tmp_path: Path):
    """TRL has no trainer for them any more: prompt, completions and labels, texts and booleans."""
    import importlib.util

    assert importlib.util.find_spec("trl.experimental.prm") is None
    data, _ = exported("steps", tmp_path)
    assert data.column_names == ["prompt", "completions", "labels", "meta"]
    assert data[0]["labels"] == [True, False]


def test_rewards_are_found_by_solution(tmp_path: Path):
    """`accuracy_reward` takes the column as it is; what has tests only is left out by it."""
    from trl.rewards import accuracy_reward

    rows = [row(FIELDS["verifiable"]), row({"prompt": "two", "tests": ["assert f() == 2"]}, "x/1/0")]
    records = list(as_trl(build(SCHEMAS["verifiable"], each) for each in rows))
    write_folder(records, "verifiable", tmp_path / "data")
    data = datasets.load_from_disk(str(tmp_path / "data"))
    said = [[{"role": "assistant", "content": r"It is \boxed{4}."}]] * 2
    assert accuracy_reward(said, data["solution"]) == [1.0, None]
