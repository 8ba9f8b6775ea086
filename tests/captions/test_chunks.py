"""Sliding windows against their definition, word by word."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.captions import sliding_chunks

WORDS = st.lists(
    st.sampled_from(["dog", "T-shirt", "3.5", "1,000", "a", "92%", "don't", "U.S", "पानी"]),
    min_size=1,
)
CLAUSES = st.lists(WORDS, min_size=1, max_size=4)
MARKS = st.sampled_from([". ", ", ", "; ", "! ", "? ", ";", "?", "... ", ".\n", " , "])


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


@given(CLAUSES, MARKS, st.integers(1, 5), st.integers(1, 3), st.integers(1, 64))
def test_equals_the_naive_definition(clauses, mark, base, stride, limit):
    clauses = [[*words, "end"] for words in clauses]  # an abbreviation has its own full stop
    text = mark.join(" ".join(words) for words in clauses) + "."
    expected = []
    for words in clauses:
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
        ("A cat , sleeping . Rain !", ["A cat", "sleeping", "Rain"]),
        (
            "Two people, one tall, sit on a mat",
            ["Two people", "one tall", "sit on", "on a", "a mat"],
        ),
        ("red,round;old!new?last.Then", ["red", "round", "old", "new", "last.Then"]),
        ("1,000 dogs,2 cats", ["1,000 dogs", "2 cats"]),
        (
            "a U.S. flag. e.g. approx. .5 cm",
            ["a U.S", "U.S. flag", "e.g. approx", "approx. .5", "5 cm"],
        ),
        ("size M. Wash", ["size M", "Wash"]),
        ("cats &amp; dogs", ["cats &amp", "amp; dogs"]),
        ("“An old cat.” It sits…", ["An old", "old cat", "It sits"]),
        ("猫，犬。鳥", ["猫", "犬", "鳥"]),
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


@pytest.mark.parametrize("part", ["[", ".", "a.", "&a", "(", "word, ", "a "])
def test_is_linear_in_the_text(part):
    def seconds(times):
        started = time.process_time()
        sliding_chunks(part * times)
        return time.process_time() - started

    few, many = (min(seconds(times) for _ in range(3)) for times in (5_000, 20_000))
    assert many < 10 * few + 0.2  # four times the text; quadratic would be 16 times
