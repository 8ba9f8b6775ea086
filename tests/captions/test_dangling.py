"""Structural captions of whole sentences, in which no word dangles."""

from __future__ import annotations

import pytest

from structxlip.captions import structure_caption

SENTENCES = [
    ("The dark, small ball sits on the old tree.", "The small ball sits on the tree."),
    ("The striped, small kite sits on the brown tree.", "The small kite sits on the tree."),
    ("The barn, while blue, is large.", "The barn is large."),
    ("If blue, the kite runs.", "the kite runs."),
    ("A man who is not blue sits.", "A man sits."),
    ("A kite which is not blue stands outside.", "A kite stands outside."),
    ("A ball (it is blue) runs.", "A ball runs."),
    ("A tree (made of wood) on a hill.", "A tree on a hill."),
    ("The dog is round, not brown.", "The dog is round."),
    ("The dog is red, but not round.", "The dog is not round."),
    ("The table is tan, not round.", "The table is not round."),
    ("The dog is blue, round and red.", "The dog is round."),
    ("The barn is either red or white.", "The barn."),
    ("The ball is red inside.", "The ball is inside."),
    ("The boat is red there.", "The boat is there."),
    ("The ball is red and outside.", "The ball is outside."),
    ("People in pink playing ball.", "People playing ball."),
    ("A woman in green holding a dog.", "A woman holding a dog."),
    ("A boat in red sitting on a trailer.", "A boat sitting on a trailer."),
]


@pytest.mark.parametrize(("caption", "expected"), SENTENCES)
def test_nothing_dangles(language, lexicon, caption, expected):
    assert structure_caption(language(caption), lexicon=lexicon).text == expected
