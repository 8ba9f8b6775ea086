"""Bad input is quarantined with its reason, and the store holds what was good."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from structxlip.data.images import decode_rgb
from structxlip.data.ingestion import IngestReport, write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.data.shards import shards
from structxlip.data.splits import SplitRule
from structxlip.errors import UserError


def encoded(kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(out, kind)
    return out.getvalue()


def missing() -> bytes:
    raise FileNotFoundError(2, "No such file or directory")


def pair(name: str, read: Callable[[], bytes] = encoded, *captions: str) -> RawPair:
    return RawPair(name, read, captions or ("a dog",), name, "test", "train")


SPLIT = {"v": "val", "t": "test"}
GOOD = [pair("v"), pair("t")]


def write(tmp_path: Path, pairs: list[RawPair], max_bad_fraction: float = 1.0) -> IngestReport:
    return write_pairs(
        [*pairs, *GOOD],
        tmp_path,
        shard_bytes=2**20,
        max_bad_fraction=max_bad_fraction,
        split_for=lambda raw: SPLIT.get(raw.id, "train"),
    )


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (pair("x", lambda: b""), "empty_image"),
        (pair("x", lambda: b"not an image"), "corrupt_image"),
        (pair("x", lambda: encoded()[:-60]), "truncated_image"),
        (pair("x", lambda: encoded("JPEG", size=(200, 200))[:4000]), "truncated_image"),
        (pair("x", missing), "missing_image"),
        (replace(pair("x"), read_edges=missing), "missing_edges"),
        (pair("x", encoded, " \t "), "empty_caption"),
        (RawPair("x", encoded, (), "x", "test", "train"), "no_caption"),
        (pair("a"), "duplicate_id"),
    ],
)
def test_quarantine(tmp_path: Path, bad: RawPair, reason: str) -> None:
    write(tmp_path, [pair("a"), bad])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["quarantined"][reason] == 1
    assert report["pairs"] == 3
    listed = pq.read_table(tmp_path / "quarantine.parquet").to_pylist()
    assert (bad.id, reason) in [(row["id"], row["reason"]) for row in listed]
    assert pq.read_table(shards(tmp_path)[0])["id"].to_pylist() == ["a", "v", "t"]


def test_one_empty_caption_of_several_leaves_the_pair(tmp_path: Path) -> None:
    report = write(tmp_path, [pair("a", encoded, "a  dog\n", "")])
    assert report.bad_pairs == 0
    assert report.by_reason() == {"empty_caption": 1}
    assert pq.read_table(shards(tmp_path)[0])["captions"][0].as_py() == ["a dog"]


def test_too_much_bad_stops_with_the_counts(tmp_path: Path) -> None:
    bad = [pair(f"x{i}", lambda: b"") for i in range(3)]
    with pytest.raises(UserError, match=r"3 of 6 pairs .* are bad \(empty_image 3; first: x0"):
        write(tmp_path, [pair("a"), *bad], max_bad_fraction=0.4)


def test_a_split_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pair is left for train"):
        write(tmp_path, [])


def test_shards_are_cut_by_size(tmp_path: Path) -> None:
    big = encoded(size=(300, 300))
    write_pairs(
        [*(pair(f"p{i:03}", lambda: big) for i in range(150)), *GOOD],
        tmp_path,
        shard_bytes=2**24,
        max_bad_fraction=0.0,
        split_for=lambda raw: SPLIT.get(raw.id, "train"),
    )
    tables = [pq.read_table(path) for path in shards(tmp_path)]
    assert len(tables) == 3
    ids = [name for table in tables for name in table["id"].to_pylist()]
    assert ids == [*(f"p{i:03}" for i in range(150)), "v", "t"]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_modes_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decode_rgb(encoded(kind, mode)).shape == (8, 12, 3)


def test_sixteen_bits_transparency_and_rotation() -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 257 * 100, np.uint16)).save(out, "PNG")
    assert set(decode_rgb(out.getvalue()).ravel()) == {100}
    out = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(out, "PNG")
    assert set(decode_rgb(out.getvalue()).ravel()) == {255}
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (12, 8)).save(out, "JPEG", exif=exif)
    assert decode_rgb(out.getvalue()).shape == (12, 8, 3)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_bad(data: bytes) -> None:
    reasons = {"empty_image", "corrupt_image", "truncated_image", "oversized_image"}
    try:
        outcome: int | str = decode_rgb(data).ndim
    except BadImage as bad:
        outcome = bad.reason
    assert outcome == 3 or outcome in reasons


def test_split_shares() -> None:
    rule = SplitRule(frozenset(), val_fraction=0.2, test_fraction=0.1)
    splits = [rule(None, str(i)) for i in range(5000)]
    for split, fraction in {"test": 0.1, "val": 0.2, "train": 0.7}.items():
        assert splits.count(split) / 5000 == pytest.approx(fraction, abs=0.02)


# What may come: how an image reads, the captions, and the reasons that it is listed for.
NO_CAPTION = {"only_markup", "empty_caption", "no_caption"}
KINDS: dict[str, tuple[Callable[[], bytes], tuple[str, ...], set[str], bool]] = {
    "good": (encoded, ("a dog", "a cat"), set(), True),
    "one bad caption": (encoded, ("a dog", " "), {"empty_caption"}, True),
    "no good caption": (encoded, ("<p></p>", ""), NO_CAPTION, False),
    "none": (encoded, (), {"no_caption"}, False),
    "missing": (missing, ("a dog",), {"missing_image"}, False),
    "empty": (bytes, ("a dog",), {"empty_image"}, False),
    "cut": (lambda: encoded("JPEG", size=(90, 90))[:-200], ("a dog",), {"truncated_image"}, False),
    "tiny": (lambda: encoded(size=(4, 40)), ("a dog",), {"tiny_image"}, False),
}  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    found=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(sorted(KINDS))), max_size=12),
    limit=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_every_pair_is_stored_or_listed(
    tmp_path: Path, found: list[tuple[int, str]], limit: float
) -> None:
    """The first good pair of an id is stored, in order; all else is counted and listed."""
    expected: Counter[str] = Counter()
    stored, seen, bad_pairs, bad_captions, captions = [], set(), 0, 0, 2 * len(GOOD[0].captions)
    for number, kind in found:
        _, texts, reasons, good = KINDS[kind]
        captions += len(texts)
        if number in seen:
            reasons, good = {"duplicate_id"}, False
        else:
            bad_captions += len(texts) if "no good" in kind else "one bad" in kind
        seen.add(number)
        expected.update(reasons)
        bad_pairs += not good
        stored += [f"p{number}"] if good else []
    pairs = [pair(f"p{number}", KINDS[kind][0]) for number, kind in found]
    pairs = [replace(p, captions=KINDS[k][1]) for p, (_, k) in zip(pairs, found, strict=True)]
    for old in tmp_path.iterdir():
        old.unlink()
    fraction = max(bad_pairs / (len(found) + len(GOOD)), bad_captions / captions)
    if fraction > limit:
        with pytest.raises(UserError, match=r"more than ingest\.max_bad_fraction"):
            write(tmp_path, pairs, limit)
        return
    report = write(tmp_path, [*pairs, *([] if stored else [pair("p")])], limit)
    assert report.by_reason() == dict(sorted(expected.items()))
    assert report.bad_pairs == bad_pairs
    ids = [name for path in shards(tmp_path) for name in pq.read_table(path)["id"].to_pylist()]
    assert ids == [*(stored or ["p"]), "v", "t"]
    listed = pq.read_table(tmp_path / "quarantine.parquet").to_pylist()
    assert Counter(row["reason"] for row in listed) == expected
    looked_at = {"empty_caption", "only_markup", "no_caption", "tiny_image"}
    for row in listed:
        assert (row["thumbnail"] is not None) == (row["reason"] in looked_at)
