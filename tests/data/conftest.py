"""Scenes that several tests read."""

from __future__ import annotations

import pytest

from structxlip.data.scenes import Scene
from tests.scenes import draw


@pytest.fixture(scope="session")
def hundred() -> list[Scene]:
    """The first hundred scenes."""
    return [draw(index) for index in range(100)]
