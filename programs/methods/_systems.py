"""System messages as tables: what a teacher is told for tasks of each family.

`ORCA` has sixteen, to the purpose of those of Orca (Mukherjee et al. 2023, arXiv:2306.02707, table 2 and figure 6), in
words of our own; families are the parts of FLAN-v2 as the paper assigns them. `STRATEGIES` are those that Orca 2 names
(Mitra et al. 2023, arXiv:2311.11045, section 3); which family gets which is ours: the paper chose them by the teacher's
answers.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FAMILIES", "MESSAGES", "TABLES"]

MESSAGES: Mapping[str, str] = {
    "none": "",
    "detailed": "You are an assistant. Answer in such detail that nothing needs to be looked up elsewhere to understand it.",
    "long": "You are an assistant who is given a task. Give an answer that is detailed and long.",
    "child": "You are a helpful assistant who always explains. Imagine that a child of five asks you.",
    "obedient": "You are an assistant who does exactly what is asked. Help as far as you possibly can.",
    "finder": "You help people to find things out. Answer in such detail that they need not look elsewhere.",
    "steps": "You are given a task by a user. Carry it out faithfully, one step at a time, and justify each step.",
    "choice child": "Describe the task and explain your answer. Where options are given, name the right ones first, then say what is wrong with the others, as you would to a child.",
    "definition": "Explain how the definition of the task led you to your answer.",
    "choice": "Describe the task and explain your answer. Where options are given, name the right ones first, then say what is wrong with the others; use what you know besides.",
    "finder steps": "You help people to find things out. Answer the question faithfully, thinking step by step, and justify the answer.",
    "instructed": "A user gives you a task with instructions. Follow them faithfully; think step by step and justify the answer.",
    "teacher": "You are a teacher. Say in simple steps what the task asks for, which rules it gives, and how these rules lead to the answer.",
    "languages": "You know every language and how to put one into another. Say in simple steps what the task asks for and which rules it gives, then solve it and show where the rules were used.",
    "parts": "Break the definition of the task into small parts. For each part say what it means, with an example that keeps to it and why it does.",
    "plain": "You help people to find things out.",
}  # fmt: skip
"""Sixteen system messages by name."""

ORCA: Mapping[str, tuple[str, ...]] = {
    "cot": ("finder", "finder steps", "plain"),
    "niv2": ("none", "detailed", "obedient", "steps", "definition", "instructed", "teacher", "languages", "parts"),
    "t0": ("none", "detailed", "long", "obedient", "steps"),
    "flan2021": ("long", "child", "steps"),
    "multiple choice": ("choice child", "choice"),
}
"""Which messages a task of each family may get."""

STRATEGIES: Mapping[str, str] = {
    "direct": "Give the answer at once and in few words, without any reasoning before or after it.",
    "step by step": "Work through the problem one small step after another, check each of them, and only then state the result.",
    "recall then generate": "First write down every fact you remember that bears on the question, then compose the answer from these facts.",
    "recall, reason, generate": "First write down the facts that matter, then reason from them towards a conclusion, and end with the answer that follows.",
    "extract then generate": "First copy the sentences of the given text that matter, then compose the answer from these sentences and nothing else.",
    "explain then answer": "First lay out what speaks for and against each possibility, weigh them, and name the answer at the very end.",
    "answer then explain": "Name the answer in the first line, then explain in short sentences why it is right.",
}  # fmt: skip
"""How a task is to be solved, by the name of the strategy."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "cot": ("step by step", "recall, reason, generate"),
    "niv2": ("extract then generate", "direct"),
    "t0": ("extract then generate", "answer then explain"),
    "flan2021": ("recall then generate", "direct"),
    "multiple choice": ("explain then answer", "answer then explain"),
}
"""Which strategies a task of each family may get."""

TABLES: Mapping[str, tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]] = {
    "orca": (MESSAGES, ORCA),
    "strategies": (STRATEGIES, FAMILIES),
    "none": ({"none": ""}, dict.fromkeys(ORCA, ("none",))),
}
"""Texts by name, and names by family."""
