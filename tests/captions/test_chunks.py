"""Sliding windows against their definition, word by word."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.captions import sliding_chunks

WORDS = st.lists(st.sampled_from(["dog", "T-shirt", "3.5", "a", "92%", "don't"]), min_size=1)
SENTENCES = st.lists(WORDS, min_size=1, max_size=4)


def phrases(text, **arguments):
    return [text[c.start : c.end] for c in sliding_chunks(text, **arguments)]


def window_size(words, base):
    if words <= 4:
        return 2
    if words <= 10:
        return base
    if words <= 20:
        return base + 1
    if words <= 40:
        return base + 2
    return base + 3


@given(SENTENCES, st.integers(1, 5), st.integers(1, 3), st.integers(1, 64))
def test_equals_the_naive_definition(sentences, base, stride, limit):
    text = ". ".join(" ".join(words) for words in sentences) + "."
    expected = []
    for words in sentences:
        size = min(window_size(len(words), base), len(words))
        for first in range(0, len(words) - size + 1, stride):
            expected.append(" ".join(words[first : first + size]))
    found = phrases(text, base_window=base, stride=stride, max_chunks=limit)
    assert found == expected[:limit]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog", ["dog"]),
        ("A cat sits. Two dogs", ["A cat", "cat sits", "Two dogs"]),
        ("A cat , sleeping . Rain !", ["A cat", "cat , sleeping", "Rain"]),
        ("the red (old) T-shirt", ["the red", "red (old", "old) T-shirt"]),
        ("a [MASK] shirt", ["a [MASK]", "[MASK] shirt"]),
        ("a mass of 4.4 cm", ["a mass of", "mass of 4.4", "of 4.4 cm"]),
        ("one\ntwo three", ["one", "two three"]),
        (" ... ", []),
        ("", []),
    ],
)
def test_table(text, expected):
    assert phrases(text) == expected


@given(st.text())
def test_spans_of_any_text_are_trimmed_and_inside(text):
    for chunk in sliding_chunks(text):
        assert 0 <= chunk.start < chunk.end <= len(text)
        phrase = text[chunk.start : chunk.end]
        assert phrase == phrase.strip()
        assert re.search(r"\w", phrase)
        assert chunk.kind == "window"


@pytest.mark.parametrize("name", ["base_window", "stride", "max_chunks"])
def test_refuses_what_is_not_positive(name):
    with pytest.raises(ValueError, match="must be positive"):
        sliding_chunks("a dog", **{name: 0})
