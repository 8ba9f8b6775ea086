"""Processes that start in no time."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

import pytest


@pytest.fixture(scope="session")
def forkserver() -> ForkServerContext:
    """Its processes have everything imported that a training needs."""
    context: ForkServerContext = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.test_kills", "tests.training.test_world"])
    return context
