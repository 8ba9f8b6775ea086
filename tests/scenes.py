"""Scenes for tests: drawn with the shipped vocabulary, as images of 160 pixels."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from structxlip.data.scenes import Scene, draw_scene, load_vocabulary

VOCABULARY_PATH = Path(__file__).parents[1] / "structxlip/data/scenes.yaml"
VOCABULARY = load_vocabulary(VOCABULARY_PATH)
PX = 160

indices = st.integers(0, 2**40)
seeds = st.integers(0, 2**31)


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, derandomize=True)


def draw(index: int, *, seed: int = 0, image_px: int = PX, captions: int = 1) -> Scene:
    return draw_scene(
        index, seed=seed, image_px=image_px, captions_per_image=captions, vocabulary=VOCABULARY
    )
