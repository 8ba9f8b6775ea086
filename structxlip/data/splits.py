"""Splits: the source's own, or a hash of the group, so that nothing moves when data grows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Split = Literal["train", "val", "test"]
SPLITS = ("train", "val", "test")
# Of the hash that cuts splits. It never changes: no parameter may move a pair to another split.
SALT = "0"
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


def hash_position(group: str, *, salt: str = SALT) -> float:
    """A hash of the name of a group, in [0, 1)."""
    digest = hashlib.blake2b(f"{salt}:{group}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True)
class SplitRule:
    """The rule by which pairs get their splits.

    A pair keeps the split that its source gives. The splits that the source does not give are cut
    from its training pairs by a hash of the group, so that nothing moves when data grows.

    Attributes:
        given: the splits that the source gives.
        val_fraction: share of the groups for a validation split that is cut.
        test_fraction: share of the groups for a test split that is cut.
        filled: the splits of single groups; see ``fill``.
    """

    given: frozenset[str]
    val_fraction: float
    test_fraction: float
    filled: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, split: str | None, group: str) -> str:
        """The split of a pair from the source's own, or None, and its group."""
        if split not in (None, "train"):
            return split
        if group in self.filled:
            return self.filled[group]
        position, edge = hash_position(group), 0.0
        for name, fraction in self._cut(split).items():
            edge += fraction
            if position < edge:
                return name
        return "train"

    def fill(self, pairs: Iterable[tuple[str | None, str]]) -> SplitRule:
        """The rule for a source of few groups, of which the hash may give a split none.

        Such a split gets the group whose hash is nearest, where train keeps one.

        Args:
            pairs: the split, or None, and the group of every pair.
        """
        known = [(split, group) for split, group in pairs if split in (None, "train")]
        found = {self(split, group) for split, group in known}
        cut = {name for split, _ in known for name in self._cut(split)}
        spare = sorted(
            {group for split, group in known if self(split, group) == "train"},
            key=hash_position,
        )
        empty = [name for name in ("test", "val") if name in cut - found]
        return replace(self, filled=dict(zip(spare[:-1], empty, strict=False)))

    def _cut(self, split: str | None) -> dict[str, float]:
        """The shares of the splits that are cut, for pairs with or without a split."""
        own = self.given if split else frozenset()
        fractions = {"test": self.test_fraction, "val": self.val_fraction}
        return {name: share for name, share in fractions.items() if name not in own}
