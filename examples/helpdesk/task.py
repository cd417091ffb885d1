"""Which queue does a help-desk message belong to? Twelve intents with house conventions that no label name tells."""

from pathlib import Path
from typing import Literal

import stillroom as st


class HelpdeskIntent(st.Signature):
    """Name the intent of an employee's message to the office help desk."""

    message: str = st.Input()
    intent: Literal[
        "password_reset",
        "account_locked",
        "access_request",
        "hardware_fault",
        "hardware_request",
        "vpn_issue",
        "network_issue",
        "email_problem",
        "security_report",
        "software_install",
        "licence_renewal",
        "printing",
    ] = st.Output()


task = st.Task(
    HelpdeskIntent,
    data=Path(__file__).parent / "rows.jsonl",
    metric=st.exact("intent"),
    name="helpdesk",
    seed=7,
    licence="Apache-2.0",
    labelled_by="machine",
)
budget = st.Budget(calls=2_000, minutes=15)
recipe = st.recipes.labelled(per_label=15)
settings = st.Settings(trials=16)
