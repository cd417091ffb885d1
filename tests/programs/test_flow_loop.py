"""The loop that rows run on leaves the process as it found it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal

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


def test_ctrl_c_in_a_notebook_ends_the_work_beside_it():
    """The interrupt comes to the thread of the notebook; the other one finishes in order."""
    ended = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("in order")
            raise

    async def notebook() -> None:
        run(work())

    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(notebook())
    finally:
        loop.close()
    assert ended == ["in order"]
