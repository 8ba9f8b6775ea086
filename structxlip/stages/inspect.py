"""`structxlip inspect`: the page of a dataset's artifacts, `reports/<dataset>/inspection.html`."""

from __future__ import annotations

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.stages.artifacts import DATA, REPORTS, atomic_files


def inspect(params: Params, dataset: str) -> None:
    from structxlip.evaluation.inspection import TextLengths, write_inspection
    from structxlip.models.towers import load_encoders

    data = DATA / dataset
    for stage in ("pairs", "edges", "captions"):
        if not (data / stage / "quarantine.parquet").is_file():
            wanted = f"edges@{dataset} captions@{dataset}"
            raise UserError(f"{data / stage} is not complete; run `dvc repro {wanted}` first")
    _, texts = load_encoders(**params.active.model.encoders())

    with atomic_files(REPORTS / dataset, "inspect") as directory:
        write_inspection(
            directory / "inspection.html",
            dataset=dataset,
            params=params,
            data=data,
            lengths=TextLengths(texts.count, texts.limit),
        )
    say(f"inspect {dataset}: look at {REPORTS / dataset / 'inspection.html'}")
