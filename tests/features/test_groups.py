"""Groups are the connected components of pairs and equal captions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from structxlip.features.groups import caption_groups, caption_ids


def test_captions_are_equal_but_for_upper_case() -> None:
    texts = ["A dog.", "a DOG.", "a dog", "Ä cat", "ä CAT", "a dog."]
    assert caption_ids(texts).tolist() == [0, 0, 1, 2, 2, 0]
    assert caption_ids([]).shape == (0,)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=9))
def test_groups_are_connected_components(captions: list[list[int]]) -> None:
    owner = np.repeat(np.arange(len(captions)), [len(of) for of in captions])
    ids = np.array([caption for of in captions for caption in of], np.int64)
    found = caption_groups(owner, ids).tolist()
    naive = list(range(len(captions)))
    for _ in captions:  # the least name among the images that share a caption, until it settles
        naive = [
            min(naive[j] for j, other in enumerate(captions) if set(of) & set(other))
            for of in captions
        ]
    assert found == naive
