"""`structxlip inspect`: the page of a dataset's artifacts, `reports/<dataset>/inspection.html`."""

from __future__ import annotations

from structxlip.config import Params
from structxlip.data.images import BadImage
from structxlip.data.sources import open_source
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.stages.artifacts import DATA, REPORTS, atomic_files


def inspect(params: Params, dataset: str) -> None:
    from structxlip.evaluation.inspection import TextLengths, write_inspection
    from structxlip.models.towers import load_encoders

    data = DATA / dataset
    for stage in ("pairs", "edges", "captions"):
        if not (data / stage).is_dir():
            wanted = f"edges@{dataset} captions@{dataset}"
            raise UserError(f"{data / stage} is not there; run `dvc repro {wanted}` first")
    _, texts = load_encoders(**params.active.model.encoders())

    def read_rejected(ids: set[str]) -> dict[str, bytes]:
        images = {}
        for raw in open_source(params.dataset(dataset), seed=params.seed).pairs:
            if raw.id in ids:
                try:
                    images[raw.id] = raw.read_image()
                except (OSError, BadImage):
                    continue
        return images

    with atomic_files(REPORTS / dataset, "inspect") as directory:
        write_inspection(
            directory / "inspection.html",
            dataset=dataset,
            params=params,
            data=data,
            lengths=TextLengths(texts.count, texts.limit),
            read_rejected=read_rejected,
        )
    say(f"inspect {dataset}: look at {REPORTS / dataset / 'inspection.html'}")
