"""The small real model, for tests of the local engine; they are skipped where it is not on this machine."""

from __future__ import annotations

from typing import Any

import pytest

from stillroom.engines.files import ModelFile, find
from stillroom.engines.local import LocalEngine
from stillroom.errors import ModelMissing


def model_file() -> ModelFile:
    """Find it, or skip the test."""
    try:
        return find("smollm2-135m")
    except ModelMissing as error:
        pytest.skip(f"{error}: {error.mend}")


def fresh(**settings: Any) -> LocalEngine:
    """An engine that no other test has asked."""
    file = model_file()
    return LocalEngine(file.path, name=file.name, digest=file.digest, **settings)
