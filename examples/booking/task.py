"""What a restaurant's guest said about a booking, as five typed optional slots."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

import stillroom as st


class BookingSlots(st.Signature):
    """Read the booking slots out of a guest's message to a restaurant. A slot that was not said is null."""

    message: str = st.Input()
    people: Annotated[int, Field(ge=1, le=200)] | None = st.Output(desc="how many people the table is for")
    date: str | None = st.Output(desc="the day as it was said, in lower case")
    time: Annotated[str, Field(pattern=r"^[0-2][0-9]:[0-5][0-9]$")] | None = st.Output(
        desc="24-hour HH:MM; the restaurant is open from 12:00 to 23:00"
    )
    name: str | None = st.Output(desc="the name the booking is under")
    seating: Literal["indoor", "outdoor", "bar"] | None = st.Output()


task = st.Task(
    BookingSlots,
    data=Path(__file__).parent / "rows.jsonl",
    metric=st.fields("people", "date", "time", "name", "seating"),
    name="booking",
    seed=7,
    licence="Apache-2.0",
    labelled_by="machine",
)
budget = st.Budget(calls=1_500, minutes=15)
recipe = st.recipes.varied(n=60)
