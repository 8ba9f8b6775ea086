"""The page of a dataset marks what a structural caption keeps, and counts what is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from structxlip.models.towers import load_encoders, load_text_tower
from structxlip.reports.dataset_page import marked
from tests.clips import TEXT_LENGTH, write_tiny_clip


@pytest.mark.parametrize(
    ("text", "structure", "gone"),
    [
        ("A red ball, on grass.", "A ball, on grass.", ["red"]),
        ("Red. A dog is red.", "A dog.", ["Red.", "is", "red."]),
        ("a dog and a dog", "a dog and a dog", []),
        ("a red red ball", "a ball", ["red", "red"]),
        ("A happy dog", "A [MASK] dog", ["happy"]),
    ],
)
def test_words_that_are_left_out_are_marked(text: str, structure: str, gone: list[str]) -> None:
    words = marked(text, structure)
    assert [word for word, _ in words] == text.split()
    assert [word for word, kept in words if not kept] == gone


def test_tokens_are_counted_before_they_are_cut(tmp_path: Path) -> None:
    clip = write_tiny_clip(tmp_path)
    long = "a ball and " * 100
    for encoder, limit in (
        (load_text_tower("packaged:all-minilm-l6-v2", 64), 64),
        (load_text_tower(clip), TEXT_LENGTH),
        (load_encoders(clip, clip, 32, None, frozen=False)[1], TEXT_LENGTH),
    ):
        assert encoder.limit == limit
        assert encoder.count(["a ball", long]) == [4, 302]
