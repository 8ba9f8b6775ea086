"""Splits: the source's own, or a hash of the group, so that nothing moves when data grows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

Split = Literal["train", "val", "test"]
SPLITS = ("train", "val", "test")
# The names that published datasets give their splits; any other name means no split.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def hash_split(group: str, fractions: Mapping[str, float], *, seed: int) -> str:
    """The split of a group by a hash of its name: stable when other groups come or go.

    ``fractions`` maps splits to shares that sum to 1.
    """
    digest = hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).digest()
    position, edge = int.from_bytes(digest, "big") / 2**64, 0.0
    for split, fraction in fractions.items():
        edge += fraction
        if position < edge:
            return split
    return split


def assign_split(
    split: str | None,
    group: str,
    *,
    given: frozenset[str],
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> str:
    """The split of a pair.

    Args:
        split: the source's own, or None.
        group: what must stay within one split.
        given: the splits that the source gives; the others are cut from its training pairs by a
            hash of the group.
        val_fraction: share of the groups for a validation split that is cut.
        test_fraction: share of the groups for a test split that is cut.
        seed: of the hash.
    """
    if split not in (None, "train"):
        return split
    own = given if split else frozenset()
    fractions = {"test": test_fraction, "val": val_fraction}
    fractions = {name: share for name, share in fractions.items() if name not in own}
    return hash_split(group, fractions | {"train": 1 - sum(fractions.values())}, seed=seed)
