"""Is an English word in a text, in whatever form: the regular forms by rule, the irregular ones of simple English by list."""

from __future__ import annotations

import re
from functools import cache

__all__ = ["forms", "missing"]

_IRREGULAR = """
be am is are was were been being; have has had; do does did done; go goes went gone; say said; get got gotten; make made;
know knew known; think thought; take took taken; see saw seen; come came; find found; give gave given; tell told;
feel felt; become became; leave left; put; bring brought; begin began begun; keep kept; hold held; write wrote written;
stand stood; hear heard; let; mean meant; set; meet met; run ran; pay paid; sit sat; speak spoke spoken; lie lay lain;
lead led; read; grow grew grown; lose lost; fall fell fallen; send sent; build built; understand understood;
draw drew drawn; break broke broken; spend spent; cut; rise rose risen; drive drove driven; buy bought; wear wore worn;
choose chose chosen; seek sought; throw threw thrown; catch caught; deal dealt; win won; forget forgot forgotten;
fight fought; teach taught; sing sang sung; eat ate eaten; drink drank drunk; swim swam swum; fly flew flown;
ride rode ridden; hide hid hidden; bite bit bitten; blow blew blown; wake woke woken; shake shook shaken;
steal stole stolen; sleep slept; sweep swept; weep wept; creep crept; feed fed; bleed bled; dig dug; stick stuck;
swing swung; spin spun; hang hung; sell sold; shine shone; shoot shot; shut; hit; hurt; cost; cry cries cried crying;
tie ties tied tying; die dies died dying; bend bent; lend lent; dream dreamt; learn learnt; burn burnt; spill spilt;
spell spelt; spoil spoilt; smell smelt; lean leant; leap leapt; light lit; slide slid; tear tore torn; swear swore sworn;
freeze froze frozen; bet; spread; split; sew sewn; show shown; fit; quit; ring rang rung; sink sank sunk; stink stank;
strike struck; wind wound; bind bound; sting stung; cling clung; forgive forgave forgiven; mistake mistook mistaken;
child children; man men; woman women; foot feet; tooth teeth; goose geese; mouse mice; person people; leaf leaves;
wolf wolves; knife knives; life lives; wife wives; half halves; shelf shelves; loaf loaves; thief thieves; calf calves;
scarf scarves; elf elves; ox oxen; fish fishes; sheep; deer; good better best; bad worse worst; far farther farthest
further furthest; little less least; many more most; old elder eldest
"""


@cache
def _irregular() -> dict[str, frozenset[str]]:
    lists = [each.split() for each in _IRREGULAR.split(";")]
    return {words[0]: frozenset(words) for words in lists}


@cache
def forms(word: str) -> frozenset[str]:
    """Every form of a base form, whatever its part of speech: plural, third person, past, -ing, comparison.

    Rules spell some forms that no one writes (`goed`); they are never found, so they do no harm.

    >>> {"stop", "stops", "stopped", "stopping"} <= forms("stop")
    True
    """
    word = word.lower()
    made = {word, f"{word}s", f"{word}'s", f"{word}ed", f"{word}ing", f"{word}er", f"{word}est"}
    if re.search(r"(?:s|x|z|ch|sh|o)$", word):
        made.add(f"{word}es")
    if re.search(r"[^aeiou]y$", word):
        made |= {word[:-1] + end for end in ("ies", "ied", "ier", "iest")}
    if word.endswith("e"):
        made |= {word + end for end in ("d", "r", "st")} | {f"{word[:-1]}ing"}
    if re.search(r"[aeiou][bdgklmnprtv]$", word):  # stop, stopped; also where the last syllable has the stress
        made |= {word + word[-1] + end for end in ("ed", "ing", "er", "est")}
    return frozenset(made) | _irregular().get(word, frozenset())


def missing(words: list[str], text: str) -> list[str]:
    """Those of `words`, given as base forms, of which no form stands in the text; several words must stand together."""
    said = re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower().replace("\u2019", "'"))
    there = {part for each in said for part in (each, each.removesuffix("'s"))}
    return [word for word in words if not _stands(word.lower(), there, said)]


def _stands(word: str, there: set[str], said: list[str]) -> bool:
    *first, last = word.split()
    if not first:
        return bool(forms(last) & there)
    ends = forms(last)
    return any(
        said[at : at + len(first)] == first and said[at + len(first)] in ends for at in range(len(said) - len(first))
    )
