"""The time of an image: every part is measured, and the threads are as they were."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from structxlip.config import Params
from structxlip.evaluation.cost import PARTS, embedding_cost
from structxlip.training.assembly import assemble
from tests.store import Artifacts


@pytest.fixture
def images() -> list[bytes]:
    rng = np.random.default_rng(0)
    files = [io.BytesIO() for _ in range(3)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(file, "PNG")
    return [file.getvalue() for file in files]


def test_every_part_is_measured(
    raw_artifacts: Artifacts, paper_params: Params, images: list[bytes]
) -> None:
    threads = torch.get_num_threads(), cv2.getNumThreads()
    settings = paper_params.recipe_settings.edges
    for arm, parts in (("structxlip", list(PARTS)), ("vanilla", ["decode", "image"])):
        model = assemble(raw_artifacts.run(paper_params, arm)).model
        found = embedding_cost(model, settings, images)
        assert list(found) == parts
        assert all(milliseconds > 0 for milliseconds in found.values())
    assert (torch.get_num_threads(), cv2.getNumThreads()) == threads
