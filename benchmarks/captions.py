"""Structural captions: the words that they keep, the nouns in their chunks, how many are right.

    python benchmarks/captions.py --photos flickr8k --fashion fashion --medical medpix

Each option is the folder of the dataset that the preset of params.yaml reads; without any, the
built-in `scenes` is measured. The captions are those of the settings `captions` of the recipe.

Columns of the first table, of every --step-th caption:
    data        the preset
    captions    how many
    unchanged   percent whose structural caption is the caption
    kept        percent of their words that structural captions keep
    in chunks   percent of the nouns of structural captions that stand in a chunk
    chunks      of a caption: the median, 99 percent of captions have at most, the most
    cut         percent of captions with more chunks than max_chunks
    words       of the longest chunk of a caption: the median, the most

Of every dataset 67 captions, evenly spread, were read one by one, each in its longest sentence. A
structural caption is right when the things, actions, places, numbers, shapes and sizes are still
there, the colours and materials that describe something are gone, and the rest is grammatical where
the caption was. `hand_checked.csv` holds the verdicts. It has no texts, which may not be copied,
but a hash of each caption with its structural caption.

Columns of the second table:
    data, right, wrong   how many
    new                  structural captions that have changed since; --show prints them
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from script import new_parser, parse, print_header, print_row
from structxlip.captions import load_language_model, load_lexicon, structure_caption
from structxlip.config import load_params
from structxlip.config.datasets import Dataset
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadCaption
from structxlip.data.sources import open_source
from structxlip.data.text import clean_caption

PRESETS = ("photos", "fashion", "medical")
CHECKED = 67
VERDICTS = Path(__file__).parent / "hand_checked.csv"
SMOKE = {"step": 60}


def captions_of(entry: dict[str, Any]) -> list[str]:
    """The clean captions of a dataset, each once, in its order."""
    found: dict[str, None] = {}
    source = open_source(TypeAdapter(Dataset).validate_python(entry))
    for pair in source.pairs:
        for text in pair.captions if isinstance(pair, RawPair) else ():
            with suppress(BadCaption):  # the ingestion lists it
                if isinstance(text, str):
                    found[clean_caption(text)] = None
    return list(found)


def nouns_in_chunks(doc: Any, text: str, spans: list[tuple[int, int]]) -> tuple[int, int]:
    """The nouns of a parsed caption that its structural form has, and those in a chunk."""
    inside = np.zeros(len(text) + 1, bool)
    for start, end in spans:
        inside[start:end] = True
    nouns = held = at = 0
    for token in doc:
        at += text[at : at + 1] == " "
        if token.lower_ in ("a", "an") and re.match(r"an?\b", text[at:], re.IGNORECASE):
            at += 1 + text[at + 1 : at + 2].isalpha()
        elif text.startswith(token.text, at):
            if token.pos_ in ("NOUN", "PROPN") and any(map(str.isalnum, token.text)):
                nouns, held = nouns + 1, held + bool(inside[at : at + len(token.text)].any())
            at += len(token.text)
    return nouns, held


def longest_sentence(caption: str) -> str:
    """The longest sentence of a caption; the first one of equally long ones."""
    return max(re.split(r"(?<=[.!?])\s+(?=\S)", caption), key=len)


def evenly(captions: list[str], count: int) -> Iterator[str]:
    """So many captions at equal distances."""
    step = max(1, len(captions) // count)
    yield from captions[step // 2 :: step][:count]


def main() -> None:
    parser = new_parser(__doc__)
    for preset in PRESETS:
        parser.add_argument(f"--{preset}", type=Path, help=f"the folder of the preset {preset}")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print captions without a verdict")
    args = parse(parser, SMOKE)
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    settings = params.recipe_settings.captions
    content = YAML(typ="safe").load(Path(__file__).parents[1] / "params.yaml")
    entries = {
        name: content["presets"][name] | {"path": str(getattr(args, name))}
        for name in PRESETS
        if getattr(args, name)
    } or {"scenes": content["datasets"]["scenes"]}
    model = load_language_model(settings.language_model)
    with VERDICTS.open(encoding="utf-8") as file:
        verdicts = {row["sha256"]: row["verdict"] for row in csv.DictReader(file)}
    checked: list[tuple[object, ...]] = []
    columns = ("data", "captions", "unchanged", "kept", "in chunks", "chunks", "cut", "words")
    print_header(*columns)
    for name, entry in entries.items():
        lexicons = [*settings.lexicons, *entry.get("lexicons", [])]
        lexicon = load_lexicon(list(dict.fromkeys(lexicons)))
        texts = captions_of(entry)
        numbers, nouns = [], np.zeros(2, int)
        for doc in model.pipe(texts[:: args.step]):
            found = structure_caption(doc, lexicon=lexicon, max_chunks=10**6)
            spans = [(chunk.start, chunk.end) for chunk in found.chunks]
            nouns += nouns_in_chunks(doc, found.text, spans)
            words = len(found.text.split()) / len(doc.text.split())
            longest = max((len(found.text[a:b].split()) for a, b in spans), default=0)
            numbers.append((found.text == doc.text, words, len(spans), longest))
        unchanged, kept, chunks, longest = np.array(numbers, float).T
        print_row(
            name,
            len(numbers),
            f"{100 * unchanged.mean():.1f}",
            f"{100 * kept.mean():.1f}",
            f"{100 * nouns[1] / nouns[0]:.2f}",
            f"{np.median(chunks):.0f}, {np.percentile(chunks, 99):.0f}, {chunks.max():.0f}",
            f"{100 * (chunks > settings.max_chunks).mean():.1f}",
            f"{np.median(longest):.0f}, {longest.max():.0f}",
        )
        sentences = [longest_sentence(caption) for caption in evenly(texts, CHECKED)]
        counts = dict.fromkeys(("right", "wrong", "new"), 0)
        for doc in model.pipe(sentences):
            structure = structure_caption(doc, lexicon=lexicon).text
            key = sha256(f"{doc.text}\n{structure}".encode()).hexdigest()[:16]
            verdict = verdicts.get(key, "new")
            counts[verdict] += 1
            if args.show and verdict == "new":
                print(f"{key} {name}: {shown(doc.text, structure)}")
        checked.append((name, *counts.values()))
    print()
    print_header("data", "right", "wrong", "new")
    for row in checked:
        print_row(*row)


def shown(caption: str, structure: str) -> str:
    """Both texts in one line; the structural one only where it differs."""
    return caption if caption == structure else f"{caption} => {structure}"


if __name__ == "__main__":
    main()
