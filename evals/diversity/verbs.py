"""Verbs and objects of instructions: what kinds of task a set asks for.

Self-Instruct (Wang et al. 2023, figure 3) counts the root verb of an instruction
and its direct noun object, found by a neural parser. No parser works offline
without a model of its own, so here rules do it, for English instructions alone:
the first clause that opens with a known verb gives the verb, and the last noun
of the noun phrase after it the object. Instructions that are questions or
statements give none, as with the parser. docs/data-quality.md has the accuracy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["verb_object", "verb_objects"]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VERBS = _set(
    """
    accomplish act adapt add address adjust advise aggregate analyse analyze annotate answer apply appraise argue
    arrange ask assess assign assume attach balance brainstorm break brief build bring calculate capitalize categorise
    categorize change characterise characterize check choose cite clarify classify clean cluster code collect combine
    come comment compare compile complete compose compress compute condense conduct consider construct contrast convert
    correct count craft create criticize critique curate debug decide decode deduce define deliver derive describe
    design detect determine develop devise diagnose differentiate discover discuss distinguish divide document draft draw
    edit elaborate eliminate emulate encode enhance ensure enumerate establish estimate evaluate examine execute expand
    explain explore express extend extract fact-check fill filter find finish fix flag follow forecast form format
    formulate gather generate get give guess group handle help highlight hypothesize identify illustrate imagine imitate
    implement improve include incorporate indicate infer inform insert instruct integrate interpret introduce invent
    investigate join judge justify keep label leave let link list locate look make mark match measure mention merge
    modify monitor multiply name narrate negate normalise normalize note number offer optimise optimize order organise
    organize outline output paint paraphrase parse perform persuade pick place plan play plot point populate predict
    prepare present print prioritize produce program project proofread propose prove provide put quantify query quote
    rank rate read realize rearrange recall recite recommend reconstruct record redact redesign reduce refactor refer
    reflect refine reformat reformulate refuse reject relate remove render reorder reorganise reorganize repair repeat
    rephrase replace reply report represent request research resolve respond restate restructure return reverse revise
    review reword rewrite round sample schedule score search segment select separate sequence serve set share shorten
    show simplify simulate sketch solve sort specify speculate spell split spot standardize start state structure
    substitute subtract suggest sum summarise summarize supply support swap synthesise synthesize tabulate tag take talk
    teach tell test think tokenize trace track transcribe transform translate trim try tune turn update use validate
    verify visualise visualize weigh work write
    """
)
_POLITE = re.compile(
    r"^(?:(?:please|kindly|now|then|next|first|finally|also|just|otherwise|hi|hello|ok(?:ay)?|and|so|carefully|briefly)\b[\s,]*"
    r"|(?:can|could|would|will) (?:you|u) (?:please )?(?:help (?:me|us) (?:to )?)?"
    r"|(?:i(?:'d| would)? (?:like|want|need)) you to |i need to |help (?:me|us) (?:to )?|let(?:'s| us) "
    r"|(?:you (?:need|have|are (?:asked|required|expected|supposed|given a \w+ and (?:need|asked))) to )"
    r"|you (?:should|must|will|can) |(?:your|the) (?:task|job|goal|aim) is to |(?:try|start|begin) (?:to )?(?=\w+ing\b)"
    r"|(?:your|the) (?:task|job|goal|aim) is: |in order to |to )+",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"(?:,| and| then| to| should| must| need to|:|;)\s+(?:please |then |you (?:should |must |need to |will )?|to |and )*(?=[a-z])",
    re.I,
)
_SENTENCE = re.compile(r"(?<=[.!?:])\s+|\n+")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9'’+#-]*|[<\[][^>\]]{1,30}[>\]]|\d[\d,.]*|[^\w\s]")

_BEFORE = _set("me us him her them you it up down out off over away back together with")
_SMALL = _set(
    """a an the this that these those my your his its our their some any all each every both either several many much
    more most few another other such one two three four five six seven eight nine ten no whether if how why what who
    when where which as possible following given above below appropriate"""
)
_END = _set(
    """of in on at by for from with without to into onto about between among against during through using based that
    which who whose where when while if whether unless until because so and or but than as per via like under over
    after before towards toward within according containing describing representing including given regarding only
    then is are was were be can could should would may might will has have had do does it they he she i you we
    politely carefully briefly properly correctly such"""
)
_QUESTION = _set("whether if how why what who when where which")
_SINGULAR = ("ss", "us", "is", "as", "series", "news", "ics")


def verb_object(text: str) -> tuple[str, str] | None:
    """Find the root verb and the noun it asks for; the noun is "" where there is none, None without a verb.

    >>> verb_object("Given a list of words, please write me a short story about them.")
    ('write', 'story')
    >>> verb_object("What is the capital of France?") is None
    True
    """
    for sentence in _SENTENCE.split(text.strip()[:2000]):
        found = _opening(sentence)
        if found is not None:
            return found
    return None


def verb_objects(texts: Sequence[str]) -> Counter[tuple[str, str]]:
    """Count (verb, object) pairs over texts that have both, in order of first appearance."""
    found = (verb_object(text) for text in texts)
    return Counter(pair for pair in found if pair is not None and pair[1])


def _opening(sentence: str) -> tuple[str, str] | None:
    """Verb and object of the first clause of the sentence that opens with a verb."""
    if sentence.rstrip().endswith("?") and not _POLITE.match(sentence):
        return None
    for start in [0, *(match.end() for match in _LATER.finditer(sentence))]:
        clause = sentence[start:]
        clause = clause[match.end() :] if (match := _POLITE.match(clause)) else clause
        tokens = _TOKEN.findall(clause)
        if not tokens or tokens[1:2] == [":"] or (len(tokens) > 2 and start == 0 and _is_preface(tokens[0], sentence)):
            continue  # "Answer:" is a heading, "Using the facts given, write ..." has its verb later
        if verb := _verb(tokens[0].lower()):
            return verb, _object(tokens[1:])
    return None


def _is_preface(word: str, sentence: str) -> bool:
    return word.lower().endswith("ing") and "," in sentence


def _verb(word: str) -> str:
    """The base form of a known verb, or ""."""
    if word in _VERBS:
        return word
    stem = word[:-3] if word.endswith("ing") else ""
    doubled = stem[:-1] if len(stem) > 2 and stem[-1] == stem[-2] else ""
    return next((form for form in (stem, f"{stem}e", doubled) if form in _VERBS), "")


def _object(tokens: Sequence[str]) -> str:
    """The last noun of the noun phrase that starts here, in the singular, or ""."""
    at = 0
    while at < len(tokens) and at < 2 and tokens[at].lower() in _BEFORE:
        at += 1  # give *me* ..., write *down* ..., come *up with* ...
    phrase: list[str] = []
    for token in tokens[at:]:
        word = token.lower()
        if not phrase and word in _QUESTION:
            return ""  # explain why ...
        if word in _SMALL or (token[0].isdigit() and not phrase):
            if phrase and word not in ("given", "following"):
                break
            continue
        if not (token[0].isalpha() or token[0] in "<[") or word in _END or (phrase and word.endswith("ly")):
            break
        phrase.append(word.replace("’", "'").removesuffix("'s") if not word.endswith("'s") else "")
    return _singular(phrase[-1]) if phrase else ""


def _singular(noun: str) -> str:
    if len(noun) < 4 or not noun.endswith("s") or noun.endswith(_SINGULAR):
        return noun
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    return noun[:-2] if noun.endswith(("sses", "shes", "ches", "xes", "zes")) else noun[:-1]
