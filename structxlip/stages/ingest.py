"""Stage `ingest`: a dataset's source becomes the validated pair store `data/<dataset>/pairs`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from structxlip.config import Params
from structxlip.config.train import batch_of
from structxlip.data.ingestion import check_sample, clean_captions, index_held_out, write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.repeats import Boilerplate, find_boilerplate
from structxlip.data.sources import open_source
from structxlip.data.splits import SPLITS, SplitRule
from structxlip.incremental.artifacts import DATA, atomic_artifact
from structxlip.progress import progress, say

# Of more pairs the hash gives every split some, and reading them all takes more than seconds.
FEW_PAIRS = 1000
SHOWN = 5  # sentences of boilerplate


def ingest(params: Params, dataset: str) -> None:
    """Read the source of a dataset, validate its pairs, and write the pair store."""
    entry, settings = params.dataset(dataset), params.ingest
    source = open_source(entry)

    rule = SplitRule(
        given=source.splits,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
    )
    if source.size <= FEW_PAIRS:
        again = open_source(entry)
        rule = rule.fill((raw.split, raw.group) for raw in again.pairs)

    if source.size > FEW_PAIRS and not source.drawn:
        check_sample(open_source(entry).pairs, source.size, settings.max_bad_fraction)

    def split_for(raw: RawPair) -> str:
        return rule(raw.split, raw.group)

    for warning in source.warnings:
        say(f"ingest {dataset}: {warning}")
    cut = [split for split in SPLITS if split not in source.splits]
    if cut and ("train" in source.splits or not source.splits):
        say(f"ingest {dataset}: {_cut(cut, source.splits)}")
    boilerplate = _boilerplate(params, dataset)
    held_out = None
    if settings.near_duplicates == "drop" and not source.drawn:
        again = open_source(entry)
        held_out = index_held_out(again.pairs, split_for)
    with (
        atomic_artifact(DATA / dataset / "pairs") as directory,
        progress(f"ingest {dataset}", source.size, "pairs") as advance,
    ):

        def counted() -> Iterator[RawPair]:
            for raw in source.pairs:
                yield raw
                advance(1)

        report = write_pairs(
            counted(),
            directory,
            shard_bytes=settings.shard_mib * 2**20,
            max_bad_fraction=settings.max_bad_fraction,
            split_for=split_for,
            held_out=held_out,
            boilerplate=boilerplate,
        )
    if report.shortened:
        say(f"ingest {dataset}: boilerplate is left out of {report.shortened:,} captions")
    if report.markup and not entry.html:
        say(
            f"ingest {dataset}: {report.markup:,} of {report.captions_seen:,} captions hold HTML; "
            f"add `html: true` to datasets.{dataset}, and it becomes text"
        )
    if report.straddling:
        say(f"ingest {dataset}: {_straddle(report.straddling)}")
    counts = report.as_dict()
    unlisted = f", in no split list {source.unlisted}" if source.unlisted else ""
    say(
        f"ingest {dataset}: {counts['pairs']} pairs, {counts['captions']} captions, splits "
        f"{counts['splits']}, quarantined {counts['quarantined'] or 'nothing'}{unlisted}"
    )
    pairs, train = report.splits["train"], params.recipe_settings.train
    batch_of(
        train.fitted(pairs).batch_size, pairs, params.machine.workers
    )  # refused now, if at all


def _boilerplate(params: Params, dataset: str) -> Boilerplate | None:
    """The sentences that the captions lose, where `captions.boilerplate` says so."""
    settings = params.recipe_settings.captions
    if settings.boilerplate == "keep":
        return None
    source = open_source(params.dataset(dataset))
    found = find_boilerplate(clean_captions(source.pairs), settings.boilerplate_share)
    for text, share in islice(found.shares.items(), SHOWN):
        say(f"ingest {dataset}: boilerplate, in {100 * share:.0f} % of the pairs: {text!r}")
    if (more := len(found.shares) - SHOWN) > 0:
        say(f"ingest {dataset}: and {more} more such sentences")
    return found


def _cut(cut: Sequence[str], given: Collection[str]) -> str:
    """Says which splits are cut by a hash, because the source does not give them."""
    if not given:
        return f"the source gives no splits, so {', '.join(cut)} are cut by a hash of the group"
    given_names = " and ".join(split for split in SPLITS if split in given)
    return (
        f"the source gives {given_names} alone, so {' and '.join(cut)} "
        f"{'is' if len(cut) == 1 else 'are'} cut from train by a hash of the group"
    )


def _straddle(groups: Mapping[str, Collection[str]]) -> str:
    """Says that groups are in several splits, which the source gives so."""
    group, splits = next(iter(groups.items()))
    return (
        f"{len(groups)} groups are in several splits, as the source gives them (first: {group}, in "
        f"{' and '.join(split for split in SPLITS if split in splits)}), so recall on held-out "
        f"pairs may be too high; split by the group to be sure"
    )
