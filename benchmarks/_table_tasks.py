"""The tasks that response tables are made of: which rows, what is asked, and other ways to ask it, bad ones among them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy

import stillroom as st
from stillroom.signatures import DataWarning

__all__ = ["TABLE_TASKS", "TableTask"]

SHOWN = 60  # rows of each training file that may be shown as demos

Row = dict[str, Any]


@dataclass(frozen=True)
class TableTask:
    """One task on real rows.

    Attributes:
        folder: Below the data folder; holds train.jsonl, dev.jsonl and test.jsonl.
        instructions: The declared one, then others.
        labels: The allowed labels; rows with another are left out. Empty for slots.
        input: Name of the text field.
        column: Column that holds the label.
        slots: Output names of an extraction task.
    """

    folder: str
    instructions: tuple[str, ...]
    labels: tuple[str, ...] = ()
    input: str = "text"
    column: str = "label"
    slots: tuple[str, ...] = ()

    def read(self, data: Path, name: str, rows: int) -> st.Task:
        """The task with `rows` rows, half of them to search on and half held out."""
        found = {split: self._rows(data / self.folder / f"{split}.jsonl") for split in ("train", "dev", "test")}
        splits = {
            "demos": found["train"][:SHOWN],
            "search": (found["dev"] + found["train"][SHOWN:])[: rows // 2],
            "test": found["test"][: rows - rows // 2],
        }
        outputs: dict[str, Any] = {slot: (str | None, dspy.OutputField()) for slot in self.slots}
        if not self.slots:
            outputs = {"label": (Literal[self.labels], dspy.OutputField())}
        fields = {self.input: (str, dspy.InputField()), **outputs}
        metric = st.evals.verifiers.fields(*self.slots) if self.slots else st.exact("label")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            return st.Task(dspy.make_signature(fields, self.instructions[0]), data=splits, metric=metric, name=name)

    def _rows(self, path: Path) -> list[Row]:
        raw = [json.loads(line) for line in path.open(encoding="utf-8")]
        if self.slots:
            return list(map(self._filled, raw))
        return [{self.input: row["text"], "label": row[self.column]} for row in raw if row[self.column] in self.labels]

    def _filled(self, row: Row) -> Row:
        first: dict[str, str] = {}
        for slot in row["slots"]:
            first.setdefault(slot["slot"], slot["value"])
        return {self.input: row["text"], **{name: first.get(name) for name in self.slots}}


TABLE_TASKS: Mapping[str, TableTask] = {
    "sentence_polarity": TableTask(
        "sentence_polarity",
        (
            "Name the sentiment of a sentence from a film review.",
            "Is this film review positive or negative? Think of what the reviewer felt.",
            "positive: the reviewer liked the film. negative: the reviewer did not like it. Pick one.",
            "Decide by the strongest word: praise means positive, a complaint means negative.",
            "Answer.",
            "You are a sour critic who dislikes everything. Say what you think of the text.",
        ),
        ("positive", "negative"),
    ),
    "news_aggregator": TableTask(
        "news_aggregator",
        (
            "Name the topic of a headline.",
            "Sort the headline into one of four sections of a newspaper.",
            "business: companies, markets, money. entertainment: films, music, celebrities. "
            "health: illness, drugs, research on bodies. science_technology: computers, phones, space. Pick one.",
            "Read the headline, find the noun it is about, and name the section that noun belongs to.",
            "Answer.",
            "Rewrite the headline as a question.",
        ),
        ("business", "entertainment", "health", "science_technology"),
        input="headline",
    ),
    "banking77": TableTask(
        "banking77",
        (
            "Name the intent of a customer's message.",
            "What does the bank's customer want? Pick the intent that fits best.",
            "card_arrival: a new card has not come. lost_or_stolen_card: the card is gone. pin_blocked: too many wrong "
            "PINs. declined_card_payment: a shop refused the card. transfer_timing: how long a transfer takes. "
            "exchange_rate: rates between currencies. top_up_failed: adding money did not work. "
            "cash_withdrawal_charge: a fee at a cash machine. Pick one.",
            "Look for the key noun (card, PIN, transfer, rate, top-up, cash) and name the intent with it.",
            "Answer.",
            "Reply politely to the customer and offer help.",
        ),
        (
            "card_arrival",
            "cash_withdrawal_charge",
            "declined_card_payment",
            "exchange_rate",
            "lost_or_stolen_card",
            "pin_blocked",
            "top_up_failed",
            "transfer_timing",
        ),
        input="message",
    ),
    "goemotions": TableTask(
        "goemotions",
        (
            "Name the emotion of a comment.",
            "How does the writer of this comment feel?",
            "anger: the writer is cross. joy: pleased, amused, thankful or fond. sadness: sorry or hurt. "
            "surprise: did not expect it or is curious. neutral: none of these. Pick one.",
            "Imagine the writer's face when writing the comment and name the feeling on it.",
            "Answer.",
            "Classify the text into a category.",
        ),
        ("anger", "joy", "neutral", "sadness", "surprise"),
        input="comment",
        column="group",
    ),
    "subj": TableTask(
        "subj",
        (
            "Say whether a sentence is subjective or objective.",
            "Does the sentence state an opinion or tell what happens?",
            "subjective: a reviewer's opinion of a film. objective: a part of the plot, told as fact. Pick one.",
            "If you could argue about it, it is subjective; if it tells what somebody does, it is objective.",
            "Answer.",
            "Correct the spelling of the sentence.",
        ),
        ("subjective", "objective"),
        input="sentence",
    ),
    "sms_spam": TableTask(
        "sms_spam",
        (
            "Say whether a text message is spam or ham.",
            "Is this message an unwanted advert or scam (spam), or written by a person the reader knows (ham)?",
            "spam: prizes, offers, numbers to ring, links. ham: ordinary chat between people. Pick one.",
            "Ask whether money or a prize is mentioned.",
            "Answer.",
            "Everything is suspicious. Protect the user at any price.",
        ),
        ("ham", "spam"),
        input="message",
    ),
    "restaurants8k": TableTask(
        "restaurants8k",
        (
            "Read a guest's message and fill in the booking.",
            "Copy out what the message says of the booking, word for word; leave null what it does not say.",
            "people: how many guests, as written. time: the hour, as written. date: the day, as written. "
            "first_name and last_name: of the guest. null where nothing is said.",
            "Extract slots.",
            "Be helpful: where the guest says nothing, suggest something.",
        ),
        slots=("people", "time", "date", "first_name", "last_name"),
        input="message",
    ),
}
"""All tasks by name."""
