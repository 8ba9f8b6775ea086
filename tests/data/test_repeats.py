"""What repeats is counted by pairs and groups, not by rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data import repeats
from structxlip.data.repeats import Boilerplate, find_boilerplate, find_repeats


def test_captions_of_several_groups_are_shared() -> None:
    texts = ["A dog", "a  DOG", "A cat", "A cat", "A hen"]
    pairs, groups = ["1", "2", "3", "4", "5"], ["a", "b", "c", "c", "d"]
    found = find_repeats(texts, pairs, groups)
    assert (found.captions, found.repeated, found.shared) == (5, 4, 2)
    assert found.most_shared == [("A dog", 2)]
    assert found.sentences == []


def test_sentences_that_recur_are_listed() -> None:
    wash = "Wash it with care."
    texts = [f"Hat number {i}. {wash}" for i in range(10)] + ["A coat. Brand new.", wash]
    pairs = [str(i) for i in range(12)]
    found = find_repeats(texts, pairs, pairs)
    assert found.sentences == [(wash, 10 / 12)]  # a whole caption is no sentence of one
    assert found.shared == 0


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a b c", "A b  c", "d e", "f"]), st.sampled_from("123")),
        max_size=12,
    )
)
def test_shared_is_its_definition(rows: list[tuple[str, str]]) -> None:
    texts, groups = [text for text, _ in rows], [group for _, group in rows]
    pairs = [str(i) for i in range(len(rows))]
    found = find_repeats(texts, pairs, groups)

    def plain(text: str) -> str:
        return " ".join(text.lower().split())

    shared = [
        any(plain(other) == plain(text) and group != of for other, of in rows)
        for text, group in rows
    ]
    assert found.shared == sum(shared)
    repeated = [sum(plain(other) == plain(text) for other, _ in rows) > 1 for text, _ in rows]
    assert found.repeated == sum(repeated)


WASH, FIT = "Wash it with care.", "It fits as usual."


def test_boilerplate_is_what_recurs_in_more_than_a_share_of_the_pairs() -> None:
    pairs = [[f"Hat number {i}. {WASH}" + (f" {FIT}" if i < 6 else "")] for i in range(20)]
    assert find_boilerplate(iter(pairs), 0.29).shares == {WASH: 1.0, FIT: 0.3}
    assert find_boilerplate(iter(pairs), 0.3).shares == {WASH: 1.0}
    assert find_boilerplate(iter(pairs[:4]), 0.1).shares == {}, "four pairs show nothing"
    assert find_boilerplate(iter([[WASH]] * 20), 0.1).shares == {}, "it is the whole caption"
    assert find_boilerplate(iter([[f"A hat. {WASH}"] * 9]), 0.1).shares == {}, "it is one pair"
    assert find_boilerplate(iter([]), 0.1).shares == {}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"A red hat. {WASH}", "A red hat."),
        (f"{WASH} A red hat; {FIT} With a bow", "A red hat; With a bow"),
        (WASH, WASH),
        (f"{WASH} {FIT}", f"{WASH} {FIT}"),
        ("A red hat.  Of wool.", "A red hat.  Of wool."),
    ],
)
def test_a_caption_loses_boilerplate_but_never_all_of_it(text: str, left: str) -> None:
    assert Boilerplate({WASH: 0.5, FIT: 0.2}).drop(text) == left


@given(
    rows=st.lists(
        st.lists(st.sampled_from([WASH, FIT, "One of a kind.", "A hat."]), max_size=4), max_size=40
    ),
    most=st.sampled_from([2, 3, 200]),
)
def test_boilerplate_is_its_definition_up_to_what_memory_costs(
    rows: list[list[str]], most: int
) -> None:
    captions = [[" ".join(row)] if row else [] for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "MOST_COUNTED", most)
        found = find_boilerplate(captions, 0.2).shares
    counts = {
        one: sum(one in row and len(row) > 1 for row in rows)
        for one in (WASH, FIT, "One of a kind.")
    }
    short = sum(len(set(row)) for row in rows) / most if most < 4 else 0
    for one, count in counts.items():
        if one in found:
            assert 0.2 * len(rows) < found[one] * len(rows) <= count + 1e-9
        else:
            assert count - short <= max(4, 0.2 * len(rows)) + 1e-9
