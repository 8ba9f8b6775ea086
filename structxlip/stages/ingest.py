"""Stage `ingest`: a dataset's source becomes the validated pair store `data/<dataset>/pairs`."""

from __future__ import annotations

from collections.abc import Iterator

from structxlip.config import Params
from structxlip.data.pairs import RawPair, remember_held_out, split_of, write_pairs
from structxlip.data.sources import Source, open_source
from structxlip.progress import progress, say
from structxlip.stages.artifacts import DATA, atomic_directory


def ingest(params: Params, dataset: str) -> None:
    entry = params.dataset(dataset)
    source = open_source(entry, seed=params.seed)

    def split_for(raw: RawPair) -> str:
        return _split(raw, source, params)

    held_out = None
    if params.ingest.near_duplicates == "drop" and not source.drawn:
        again = open_source(entry, seed=params.seed)
        held_out = remember_held_out(again.pairs, split_for)
    with (
        atomic_directory(DATA / dataset / "pairs") as directory,
        progress(f"ingest {dataset}", source.size, "pairs") as advance,
    ):

        def watched() -> Iterator[RawPair]:
            for raw in source.pairs:
                yield raw
                advance(1)

        report = write_pairs(
            watched(),
            directory,
            shard_bytes=params.ingest.shard_mib * 2**20,
            max_bad_fraction=params.ingest.max_bad_fraction,
            split_for=split_for,
            held_out=held_out,
        )
    counts = report.as_dict()
    unlisted = f", in no split list {source.unlisted}" if source.unlisted else ""
    say(
        f"ingest {dataset}: {counts['pairs']} pairs, {counts['captions']} captions, splits "
        f"{counts['splits']}, quarantined {counts['quarantined'] or 'nothing'}{unlisted}"
    )


def _split(raw: RawPair, source: Source, params: Params) -> str:
    """The source's own split; those that it does not give are carved out of the training pairs by a
    hash of the group."""
    if raw.split not in (None, "train"):
        return raw.split
    given = source.splits if raw.split else frozenset()
    fractions = {"test": params.ingest.test_fraction, "val": params.ingest.val_fraction}
    fractions = {split: share for split, share in fractions.items() if split not in given}
    return split_of(raw.group, fractions | {"train": 1 - sum(fractions.values())}, seed=params.seed)
