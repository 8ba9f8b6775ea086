"""Stage `captions`: structural captions and their chunks, `data/<dataset>/captions`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from structxlip.captions import (
    load_language_model,
    load_lexicon,
    structure_caption,
)
from structxlip.config import Captions, Params
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.stages.artifacts import DATA, atomic_directory
from structxlip.stages.row_groups import RowGroup, Worker, map_row_groups, write_row_groups

if TYPE_CHECKING:
    import pyarrow as pa

PARSE_BATCH = 32


def captions(params: Params, dataset: str) -> None:
    pairs, settings = DATA / dataset / "pairs", params.active.captions
    try:
        load_lexicon(settings.lexicons)
        load_language_model(settings.language_model)
    except ValueError as error:
        raise UserError(f"captions: {error}") from None
    total = kept = chunks = 0
    with atomic_directory(DATA / dataset / "captions") as directory:
        results = map_row_groups(
            pairs, partial(_worker, pairs, settings), description=f"captions {dataset}"
        )
        for table in write_row_groups(results, directory):
            total += sum(len(text.as_py()) for text in table["text"])
            kept += sum(len(text.as_py()) for text in table["structure"])
            chunks += sum(len(found.as_py()) for found in table["chunks"])
    say(f"captions {dataset}: {100 * kept / total:.0f} % of the text kept, {chunks} chunks")


def _worker(pairs: Path, settings: Captions) -> Worker:
    model, lexicon = load_language_model(settings.language_model), load_lexicon(settings.lexicons)

    def work(group: RowGroup) -> pa.Table:
        import pyarrow as pa

        rows = group.read(pairs, ["id", "captions"]).to_pylist()
        texts = [text for row in rows for text in row["captions"]]
        structural = [
            structure_caption(
                doc, lexicon=lexicon, **settings.model_dump(exclude={"language_model", "lexicons"})
            )
            for doc in model.pipe(texts, batch_size=PARSE_BATCH)
        ]
        chunk = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("kind", pa.string())])
        return pa.table(
            {
                "id": [row["id"] for row in rows for _ in row["captions"]],
                "caption_index": pa.array(
                    [index for row in rows for index in range(len(row["captions"]))], pa.int32()
                ),
                "text": texts,
                "structure": [caption.text for caption in structural],
                "weights": pa.array(
                    [caption.weights for caption in structural], pa.list_(pa.float32())
                ),
                "chunks": pa.array(
                    [[vars(found) for found in caption.chunks] for caption in structural],
                    pa.list_(chunk),
                ),
            }
        )

    return work
