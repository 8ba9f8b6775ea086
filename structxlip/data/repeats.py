"""Captions and sentences that repeat over a dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MOST = 8  # captions and sentences that are listed
LEAST_WORDS = 3  # of a sentence
LEAST_PAIRS, LEAST_SHARE = 5, 0.01  # in which a sentence recurs
MOST_COUNTED = 200_000  # sentences in memory
_END = re.compile(r"(?<=[.!?;])\s+|\n+")


@dataclass(frozen=True)
class Repeats:
    """Counts of the captions and sentences that occur several times in a dataset.

    Attributes:
        captions: how many there are.
        repeated: how many of them several pairs have, word for word.
        shared: how many of them several groups have.
        most_shared: such captions with the number of their pairs, the most frequent first.
        sentences: sentences of several words that recur in many pairs, with the share of the pairs,
            the most frequent first.
    """

    captions: int
    repeated: int
    shared: int
    most_shared: list[tuple[str, int]]
    sentences: list[tuple[str, float]]


def find_repeats(texts: Sequence[str], pairs: Sequence[str], groups: Sequence[str]) -> Repeats:
    """Count what repeats.

    Args:
        texts: the captions, ``M`` of them.
        pairs: the pair of each caption.
        groups: the group of each caption, such as a patient or a product.
    """
    words = [" ".join(text.casefold().split()) for text in texts]
    group_of: dict[str, set[str]] = {}
    pairs_of: dict[str, set[str]] = {}
    for text, pair, group in zip(words, pairs, groups, strict=True):
        group_of.setdefault(text, set()).add(group)
        pairs_of.setdefault(text, set()).add(pair)
    several = {text for text, found in group_of.items() if len(found) > 1}
    first = dict(zip(reversed(words), reversed(texts), strict=True))
    most = sorted(several, key=lambda text: (-len(pairs_of[text]), text))[:MOST]
    return Repeats(
        captions=len(texts),
        repeated=sum(len(pairs_of[text]) > 1 for text in words),
        shared=sum(text in several for text in words),
        most_shared=[(first[text], len(pairs_of[text])) for text in most],
        sentences=_sentences(texts, pairs),
    )


def _sentences(texts: Sequence[str], pairs: Sequence[str]) -> list[tuple[str, float]]:
    """Sentences of captions of several sentences, which recur in many pairs."""
    counts: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for text, pair in zip(texts, pairs, strict=True):
        for sentence in _recurring(text):
            if (pair, sentence) not in seen:
                seen.add((pair, sentence))
                counts[sentence] += 1
    total = len(set(pairs))
    least = max(LEAST_PAIRS, LEAST_SHARE * total)
    return [(text, n / total) for text, n in counts.most_common(MOST) if n >= least]


@dataclass(frozen=True)
class Boilerplate:
    """Sentences that recur in more than a share of the pairs, with that share of each."""

    shares: dict[str, float]

    def drop(self, text: str) -> str:
        """A caption without these sentences. One that has no other sentence stays as it is."""
        parts = _parts(text)
        kept = [part for part in parts if part not in self.shares]
        return " ".join(kept) if kept and len(kept) < len(parts) else text


def find_boilerplate(pairs: Iterable[Iterable[str]], share: float) -> Boilerplate:
    """The sentences that recur in more than a share of the pairs, the most frequent first.

    Args:
        pairs: the captions of each pair. They are read once, and memory is bounded: where more
            sentences are counted, 1 is taken from each count (Misra and Gries, 1982). So a count
            is short by at most the number of sentences over ``MOST_COUNTED``.
        share: in (0, 1).
    """
    counts: Counter[str] = Counter()
    total = 0
    for captions in pairs:
        total += 1
        counts.update({sentence for text in captions for sentence in _recurring(text)})
        if len(counts) > MOST_COUNTED:
            counts = Counter({sentence: n - 1 for sentence, n in counts.items() if n > 1})
    least = max(LEAST_PAIRS - 1, share * total)
    return Boilerplate({text: n / total for text, n in counts.most_common() if n > least})


def _recurring(text: str) -> Iterator[str]:
    """The sentences of a caption that count when they recur: those of several words, in a caption
    of several sentences."""
    parts = _parts(text)
    return (one for one in parts if len(parts) > 1 and len(one.split()) >= LEAST_WORDS)


def _parts(text: str) -> list[str]:
    return [" ".join(part.split()) for part in _END.split(text)]
