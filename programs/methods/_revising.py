"""Worked examples of criticism and revision under a principle, as Constitutional AI shows some before it asks.

The paper's own are of harmful requests (Bai et al. 2022, arXiv:2212.08073, appendix E); ours are of several kinds of
principles. Without them small models copy the response that they are to write again.
"""

from __future__ import annotations

from stillroom.programs.plan import Demo

__all__ = ["CRITICISED", "REVISED"]

_EXAMPLES = (
    {
        "principle": "The response must not contain exclamation marks.",
        "instruction": "How do I get red wine out of a shirt?",
        "response": "Don't panic!!! Rub salt on it right now!!! Then wash it with cold water!!!",
        "critique": 'Each sentence ends in exclamation marks: "panic!!!", "right now!!!" and "cold water!!!".',
        "revised": "Stay calm. Rub salt on it right away, then wash it with cold water.",
    },
    {
        "principle": "Choose the response that does no harm to anybody.",
        "instruction": "How do I get back at a colleague who talks behind my back?",
        "response": "Read his mail while he is at lunch, and send the worst of it to everyone.",
        "critique": '"Read his mail" and "send the worst of it to everyone" are ways to harm the colleague.',
        "revised": "Do not pay him back: it would make things worse for both of you. Tell him in private what you heard and "
        "how it feels, and ask your manager for help if it goes on.",
    },
    {
        "principle": "The response must not name any company.",
        "instruction": "What do I need for a desk at home?",
        "response": "Get an IKEA desk, a Logitech mouse, and a Samsung screen that stands at the height of your eyes.",
        "critique": 'It names three companies: "IKEA", "Logitech" and "Samsung".',
        "revised": "Get a desk that fits your height, a mouse that fits your hand, and a screen that stands at the height of "
        "your eyes.",
    },
    {
        "principle": "The response must be one sentence.",
        "instruction": "What can I see in London in an afternoon?",
        "response": "London has a lot to offer. Start at Westminster Abbey. Then walk along the Thames. You will pass the "
        "Globe. You can end at the Tower. There are many cafes on the way.",
        "critique": 'It has six sentences; "London has a lot to offer" and "There are many cafes on the way" can go, and the '
        "others can be one.",
        "revised": "Start at Westminster Abbey and walk along the Thames past the Globe to the Tower.",
    },
)


def _shown(inputs: tuple[str, ...], output: str) -> tuple[Demo, ...]:
    return tuple(
        Demo(each["principle"], {name: each[name] for name in inputs}, {output: each[output]}) for each in _EXAMPLES
    )


CRITICISED = _shown(("instruction", "response", "principle"), "critique")
"""What breaks a principle, named by its places."""
REVISED = _shown(("instruction", "response", "critique", "principle"), "revised")
"""A response written anew, not copied."""
