"""Read damaged trees with every source: nothing may break, and nothing be lost in silence.

    python benchmarks/fuzz_sources.py

An example is a small valid tree of files. In some of them values are replaced by values of other
types, in others a file is cut or some of its bits are flipped. The source is opened and its pairs
are ingested. These must hold:

- there is no error but `UserError`;
- each pair that the source yields is kept, or its id stands in the quarantine;
- no caption is a value that Python printed, such as ``nan`` or ``['A dog']``;
- where only values were replaced: kept, quarantined and unlisted pairs are no fewer than those that
  the valid tree has. Cut or flipped bytes may take records out of a list without a trace.

Columns:
    kind         the kind of the source
    examples     trees that were tried
    refused      trees refused with one sentence
    kept         pairs that were kept in the others
    quarantined  pairs that were listed in the others
    unlisted     pairs that the lists of the trees leave out
    tracebacks   trees that ended with another error
    lost         trees that lost a pair in silence
"""

from __future__ import annotations

import copy
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fuzz_trees import KINDS, SPLITS, WRONG, image, places, write_tree
from script import new_parser, parse, print_header, print_row
from structxlip.config.datasets import Dataset
from structxlip.data.ingestion import write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.shards import shards
from structxlip.data.sources import open_source
from structxlip.errors import UserError

SMOKE = {"examples": 5}
# What Python prints for values that are no text. No valid caption of the trees holds it.
PRINTED = re.compile(r"\b(nan|inf|None|True|False)\b|[\[{]['\"]")
# Text tables hold texts alone, so a printed value in them is a text as any other.
TEXT_TABLES = (".csv", ".txt")


class LostPair(AssertionError):
    """A pair that was lost, or a value that was taken for a caption, in silence."""


@dataclass(frozen=True)
class Example:
    """How a tree is damaged.

    Attributes:
        size: number of pairs of the valid tree.
        wrong: numbers that choose places in the documents, each with a value for it.
        damage: numbers that choose a file and a bit of it, and whether the file is cut there.
    """

    size: int
    wrong: Sequence[tuple[int, Any]] = ()
    damage: Sequence[tuple[int, int, bool]] = ()


@dataclass(frozen=True)
class Outcome:
    """Numbers of pairs; None for ``kept`` when the tree was refused."""

    kept: int | None = None
    quarantined: int = 0
    unlisted: int = 0


def examples() -> st.SearchStrategy[Example]:
    """Trees with wrong values, or with damaged bytes, or both."""
    numbers = st.integers(0, 2**16)
    wrong = st.lists(st.tuples(numbers, st.sampled_from(WRONG)), max_size=3)
    damage = st.lists(st.tuples(numbers, st.integers(0, 2**20), st.booleans()), max_size=2)
    return st.builds(Example, st.integers(1, 6), wrong, st.one_of(st.just([]), damage))


def outcome(kind: str, example: Example, root: Path) -> Outcome:
    """Ingest the tree of an example, which is written to the empty folder ``root``.

    Raises ``LostPair``, or the error that the source or the ingestion raises.
    """
    tree = copy.deepcopy(KINDS[kind](example.size))
    for choice, value in example.wrong:
        found = [place for document in tree.documents.values() for place in places(document)]
        container, key = found[choice % len(found)]
        container[key] = copy.deepcopy(value)
    write_tree(tree, root / "set")
    _damage(root / "set", example.damage)
    entry = TypeAdapter(Dataset).validate_python(
        {"kind": kind, "path": str(root / "set"), **tree.settings}
    )
    try:
        source = open_source(entry)
        size, unlisted = source.size, source.unlisted
        kept, listed = _ingested([*source.pairs], root / "pairs")
    except UserError as error:
        if "\n" in str(error).strip():
            raise LostPair(f"the refusal is not one sentence: {error}") from None
        return Outcome()
    if len(kept) + listed != size:
        raise LostPair(f"{len(kept)} kept and {listed} listed of {size} pairs")
    given_pairs = tree.given(tree.documents)
    if not example.damage and len(kept) + listed + unlisted < given_pairs:
        raise LostPair(f"{len(kept)} kept, {listed} listed, {unlisted} unlisted of {given_pairs}")
    texts_only = any(path.suffix in TEXT_TABLES for path in (root / "set").rglob("*"))
    printed = [text for texts in kept.values() for text in texts if PRINTED.search(text)]
    if printed and not texts_only:
        raise LostPair(f"kept as a caption: {printed[0]!r}")
    return Outcome(len(kept), listed, unlisted)


def _damage(root: Path, damage: Sequence[tuple[int, int, bool]]) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for choice, place, cut in damage:
        path = files[choice % len(files)]
        content = bytearray(path.read_bytes())
        if not content:
            continue
        byte, bit = place // 8 % len(content), place % 8
        if cut:
            del content[byte:]
        else:
            content[byte] ^= 1 << bit
        path.write_bytes(content)


def _ingested(pairs: Sequence[RawPair], folder: Path) -> tuple[dict[str, list[str]], int]:
    """The captions of the pairs that are kept, by id, and the number of the other pairs.

    Raises ``LostPair`` for a pair of which neither is true.
    """
    folder.mkdir()
    good = [
        RawPair(f"good {split}", lambda: image(99), ["A dog"], split, "fuzz", split)
        for split in SPLITS  # so that no split is empty
    ]
    write_pairs(
        [*pairs, *good],
        folder,
        shard_bytes=2**24,
        max_bad_fraction=1.0,
        split_for=lambda raw: raw.split or "train",
    )
    columns = ["id", "captions"]
    kept = {
        row["id"]: row["captions"]
        for path in shards(folder)
        for row in pq.read_table(path, columns=columns).to_pylist()
    }
    quarantine = pq.read_table(folder / "quarantine.parquet", columns=["id", "reason"]).to_pylist()
    listed = Counter(row["id"] for row in quarantine)
    for pair in pairs:
        if pair.id not in kept and not listed[pair.id]:
            raise LostPair(f"{pair.id} is neither kept nor listed")
    kept = {name: texts for name, texts in kept.items() if not name.startswith("good ")}
    return kept, len(pairs) - len(kept)


def measure(kind: str, count: int) -> list[Any]:
    """The cells of the row of a kind. The first traceback of each place is printed."""
    counts: Counter[str] = Counter()
    shown: set[str] = set()

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(example=examples())
    def run(example: Example) -> None:
        counts["examples"] += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = outcome(kind, example, Path(folder))
            except LostPair as lost:
                counts["lost"] += 1
                _show(str(lost), f"{kind}: {lost}\n{example}", shown)
            except Exception as error:  # any other error of any type is what is looked for
                counts["tracebacks"] += 1
                place = traceback.extract_tb(error.__traceback__)[-1]
                text = "".join(traceback.format_exception(error)[-6:])
                _show(f"{place.filename}:{place.lineno}", f"{kind}: {text}\n{example}", shown)
            else:
                counts["refused"] += found.kept is None
                counts["kept"] += found.kept or 0
                counts["quarantined"] += found.quarantined
                counts["unlisted"] += found.unlisted

    run()
    names = ("examples", "refused", "kept", "quarantined", "unlisted", "tracebacks", "lost")
    return [kind, *(counts[name] for name in names)]


def _show(place: str, message: str, shown: set[str]) -> None:
    """Print what went wrong at a place, once."""
    if place not in shown:
        shown.add(place)
        print(message, file=sys.stderr)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    options = parse(parser, SMOKE)
    print_header(
        "kind", "examples", "refused", "kept", "quarantined", "unlisted", "tracebacks", "lost"
    )
    failed = 0
    for kind in options.kinds:
        row = measure(kind, options.examples)
        print_row(*row)
        failed += row[-1] + row[-2]
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
