"""Stage `captions`: structural captions and their chunks, `data/<dataset>/captions`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structxlip.captions import (
    language_model_release,
    load_language_model,
    load_lexicon,
    names_side,
    structure_caption,
)
from structxlip.config import Captions, Params
from structxlip.data.shards import shards
from structxlip.errors import UserError
from structxlip.incremental.artifacts import DATA
from structxlip.incremental.derived import ERROR, Derivation, MakeRows, derive
from structxlip.incremental.row_cache import signature
from structxlip.incremental.row_groups import RowGroup
from structxlip.progress import say

if TYPE_CHECKING:
    import pyarrow as pa
    from spacy.language import Language
    from spacy.tokens import Doc

UNIT, PARSE_BATCH = 512, 128


def captions(params: Params, dataset: str) -> None:
    """Parse every caption of a dataset into its structural caption and chunks."""
    pairs, settings = DATA / dataset / "pairs", params.caption_settings(dataset)
    try:
        load_lexicon(settings.lexicons)
        known = _signature(settings)
    except ValueError as error:
        raise UserError(f"captions: {error}") from None
    derivation = Derivation(
        stage="captions",
        columns=("id", "captions"),
        identify=identify,
        source_columns=("captions",),
        sources=lambda rows: [text.encode() for text in _texts(rows)],
        make_worker=partial(make_worker, pairs, settings),
        failed="not_parsed",
        signature=known,
        unit=UNIT,
        summary=summary,
    )
    derive(derivation, dataset, max_bad_fraction=params.ingest.max_bad_fraction)
    report = json.loads((DATA / dataset / "captions" / "report.json").read_text())
    kept, unchanged = (
        100 * report[part] / report[whole]
        for part, whole in (("kept_characters", "characters"), ("unchanged", "captions"))
    )
    say(
        f"captions {dataset}: {kept:.0f} % of the text kept, {unchanged:.0f} % of the captions "
        f"unchanged, {report['chunks']:,} chunks"
    )
    if left_out := report["chunks_left_out"]:
        say(
            f"captions {dataset}: captions.max_chunks {settings.max_chunks} leaves out "
            f"{left_out:,} chunks of {report['captions_with_chunks_left_out']:,} captions"
        )


def summary(directory: Path) -> dict[str, int]:
    """Counts over the structural captions in a folder: how many are unchanged, the characters that
    they keep, their chunks, and the chunks that ``max_chunks`` leaves out."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    counts = dict.fromkeys(
        ("captions", "unchanged", "characters", "kept_characters", "chunks", "chunks_left_out"), 0
    ) | {"captions_with_chunks_left_out": 0}
    columns = ["text", "structure", "chunks", "chunks_left_out"]
    for batch in ds.dataset(shards(directory)).to_batches(columns=columns):
        found = {
            "captions": len(batch),
            "unchanged": pc.sum(pc.equal(batch["text"], batch["structure"])).as_py(),
            "characters": pc.sum(pc.utf8_length(batch["text"])).as_py(),
            "kept_characters": pc.sum(pc.utf8_length(batch["structure"])).as_py(),
            "chunks": pc.sum(pc.list_value_length(batch["chunks"])).as_py(),
            "chunks_left_out": pc.sum(batch["chunks_left_out"]).as_py(),
            "captions_with_chunks_left_out": pc.sum(
                pc.greater(batch["chunks_left_out"], 0)
            ).as_py(),
        }
        counts = {name: count + (found[name] or 0) for name, count in counts.items()}
    return counts


def _signature(settings: Captions) -> str:
    model = Path(settings.language_model)
    if model.is_dir():
        release: list[str | Path] = [path for path in sorted(model.rglob("*")) if path.is_file()]
    else:
        release = [language_model_release(settings.language_model)]
    lexicons = [path for path in map(Path, settings.lexicons) if path.suffix]
    code = (Path(__file__).parents[1] / "captions", Path(__file__))
    return signature(
        json.dumps(settings.of_parsing()), version("spacy"), *release, *code, *lexicons
    )


def _texts(rows: pa.Table) -> list[str]:
    return [text for texts in rows["captions"].to_pylist() for text in texts]


def identify(rows: pa.Table) -> pa.Table:
    """The captions of pairs, one in each row."""
    import pyarrow as pa

    counts = [len(texts) for texts in rows["captions"].to_pylist()]
    return pa.table(
        {
            "id": np.repeat(rows["id"].to_numpy(), counts),
            "caption_index": pa.array([i for count in counts for i in range(count)], pa.int32()),
            "text": _texts(rows),
        }
    )


def make_worker(pairs: Path, settings: Captions) -> MakeRows:
    """Load the language model and the lexicons; return what makes rows of captions."""
    import pyarrow as pa

    try:
        model = load_language_model(settings.language_model)
    except ValueError as error:
        raise UserError(f"captions: {error}") from None
    lexicon = load_lexicon(settings.lexicons)
    how = settings.of_structure()
    chunk = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("kind", pa.string())])
    schema = pa.schema(
        [
            ("structure", pa.string()),
            ("weights", pa.list_(pa.float32())),
            ("chunks", pa.list_(chunk)),
            ("chunks_left_out", pa.int32()),
            ("names_side", pa.bool_()),
            (ERROR, pa.string()),
        ]
    )

    def row(text: str, parsed: Doc | Exception) -> dict[str, Any]:
        side = {"names_side": names_side(text), "chunks_left_out": 0}
        try:
            if isinstance(parsed, Exception):
                raise parsed
            found = structure_caption(parsed, lexicon=lexicon, **how)
        except Exception as error:  # one caption that cannot be parsed is listed, not fatal
            whole = {"structure": text, "weights": [1.0] * len(text.split()), "chunks": []}
            return side | whole | {ERROR: f"{str(error) or type(error).__name__}, in {text[:60]!r}"}
        chunks = [vars(chunk) for chunk in found.chunks]
        kept = {"structure": found.text, "weights": found.weights, "chunks": chunks}
        return side | kept | {"chunks_left_out": found.chunks_left_out, ERROR: None}

    def make(group: RowGroup, rows: list[int]) -> pa.Table:
        texts = _texts(group.read(pairs, ["captions"]))
        wanted = [texts[i] for i in rows]
        made = [row(*pair) for pair in zip(wanted, _parsed(model, wanted), strict=True)]
        return pa.Table.from_pylist(made, schema=schema)

    return make


def _parsed(model: Language, texts: list[str]) -> Iterator[Doc | Exception]:
    """The parse of each text, or the error that it raised; a batch that fails is split."""
    try:
        yield from list(model.pipe(texts, batch_size=PARSE_BATCH))
    except Exception:  # whatever a component raises, for one text of many
        for text in texts:
            try:
                yield model(text)
            except Exception as error:
                yield error
