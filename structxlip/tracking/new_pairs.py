"""The pairs that are new to the champion, beside old ones, and what it makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from structxlip.data.shards import read_shards, shards
from structxlip.data.splits import hash_position
from structxlip.tracking.data_check import PairNumbers
from structxlip.tracking.scoring import embed_with_package
from structxlip.tracking.split import Seen, caption_hash


@dataclass(frozen=True)
class Samples:
    """Ids of pairs, at most one of a group: the new ones, and old ones to compare them with.

    The old ones are of the validation split, on which the champion was not trained.
    """

    new: list[str]
    old: list[str]


def sample(pairs: Path, seen: Seen, most: int) -> Samples:
    """Draw new and old pairs from a pair store.

    Args:
        pairs: the store.
        seen: what the champion was trained and validated on. A pair is new when its image, or one
            of its captions, is not in there.
        most: the largest number of each.
    """
    table = read_shards(pairs, ["id", "split", "group", "sha256", "captions"])
    found: dict[str, dict[str, str]] = {"new": {}, "old": {}}
    rows = sorted(table.to_pylist(), key=lambda row: hash_position(row["id"], salt="data check"))
    for row in rows:
        known = row["sha256"] in seen.images and all(
            caption_hash(text) in seen.captions for text in row["captions"]
        )
        if row["split"] in (("val",) if known else ("train", "val")):
            found["old" if known else "new"].setdefault(row["group"] or row["id"], row["id"])
    new, old = (list(found[part].values())[:most] for part in ("new", "old"))
    return Samples(new, old)


def numbers(data: Path, package: Path, samples: Samples) -> tuple[PairNumbers, PairNumbers]:
    """The numbers of new and of old pairs, embedded by a package.

    Args:
        data: the folder of the dataset, with pairs and edges.
        package: of the champion.
        samples: the pairs.
    """
    import pyarrow.dataset as ds

    ids = [*samples.new, *samples.old]
    columns = ["id", "image", "edges", "captions"]
    table = ds.dataset(shards(data / "pairs")).to_table(columns, filter=ds.field("id").isin(ids))
    rows = {row["id"]: row for row in table.to_pylist()}
    chosen: list[dict[str, Any]] = [rows[key] for key in ids]
    captions = [row["captions"][0] for row in chosen]
    embedded = embed_with_package(
        package, [row["image"] for row in chosen], [row["edges"] for row in chosen], captions
    )
    edges = read_shards(data / "edges", ["id", "density"]).to_pydict()
    density = dict(zip(edges["id"], edges["density"], strict=True))
    of_all = PairNumbers(
        captions,
        np.array([len(text.split()) for text in captions], float),
        np.array([density.get(key, np.nan) for key in ids], float),
        embedded.images,
        embedded.texts,
    )
    return of_all[: len(samples.new)], of_all[len(samples.new) :]
