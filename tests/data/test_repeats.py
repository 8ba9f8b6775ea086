"""What repeats is counted by pairs and groups, not by rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.repeats import find_repeats


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
