"""Grey, blurred pictures, as edge detectors see them: a control of the edge maps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from structxlip.config import Edges
from structxlip.cues.prepare import grey_square
from structxlip.data.images import decode_rgb
from structxlip.data.shards import shards
from structxlip.progress import progress

BATCH_PAIRS = 64


def write_grey_pictures(pairs: Path, file: Path, settings: Edges) -> None:
    """Write the pictures ``uint8 [N, S, S]`` as a NumPy file, unless it is there already.

    Args:
        pairs: the pair store, whose order the file has.
        file: ends with ``.npy``. It is complete or absent.
        settings: the size ``S`` in pixels, and the blur, of the edge maps.
    """
    import pyarrow.dataset as ds

    if file.exists():
        return
    store, size = ds.dataset(shards(pairs)), settings.size_px
    count = store.count_rows()
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.stem}.tmp-{os.getpid()}.npy")
    try:
        pictures = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, size, size))
        row = 0
        with progress(f"grey pictures of {pairs}", count) as advance:
            for batch in store.to_batches(columns=["image"], batch_size=BATCH_PAIRS):
                for data in batch["image"].to_pylist():
                    pictures[row] = grey_square(
                        decode_rgb(data), size_px=size, blur_sigma=settings.blur_sigma
                    )
                    row += 1
                advance(batch.num_rows)
        pictures.flush()
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
