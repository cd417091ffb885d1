"""The loop that rows run on leaves the process as it found it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from stillroom.programs.flow.loop import run


def settings() -> tuple[object, bool]:
    return gc.get_threshold(), gc.get_freeze_count() > 0


@pytest.mark.parametrize("fails", [False, True])
def test_the_collector_is_as_before_when_a_run_ends(fails: bool):
    """However it ends."""

    async def work() -> tuple[object, bool]:
        seen.append(settings())
        if fails:
            raise ValueError("over")
        await asyncio.sleep(0)

    seen: list[tuple[object, bool]] = []
    before = settings()
    if fails:
        with pytest.raises(ValueError, match="over"):
            run(work())
    else:
        run(work())
    assert settings() == before
    assert seen[0] != before
