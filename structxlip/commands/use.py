"""The commands that use a trained model: search, serve, embed, match, classify, export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from structxlip.commands.options import PARAMS, DatasetArgument, ParamsFile, dataset_params
from structxlip.config import Arm

commands = typer.Typer()


@commands.command()
def search(
    dataset: DatasetArgument,
    text: Annotated[str | None, typer.Argument(help="The words to search for.")] = None,
    image: Annotated[Path | None, typer.Option(help="Search by a picture.")] = None,
    like: Annotated[str | None, typer.Option(help="Search by the id of an image.")] = None,
    sketch: Annotated[Path | None, typer.Option(help="Search by a drawing of lines.")] = None,
    by: Annotated[
        str | None,
        typer.Option(help="content, structure, or both fused. Default: fused; structure: sketch."),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the edges in fused.")] = None,
    beta: Annotated[
        float | None, typer.Option(min=0, help="Weight of reranking words; 0 reranks nothing.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Answers.")] = 10,
    split: Annotated[str | None, typer.Option(help="Only images of this split.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find images of a dataset by words, by a picture, by a sketch, or like another one."""
    from structxlip.serving.answers import print_hits
    from structxlip.serving.search import Searcher

    found = Searcher(dataset).find(
        text=text,
        image=image,
        like=like,
        sketch=sketch,
        by=by,
        k=k,
        alpha=alpha,
        split=split,
        beta=beta,
    )
    print_hits(found, as_json=as_json)


@commands.command()
def serve(
    dataset: DatasetArgument,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port.")] = 8017,
) -> None:
    """Open a page and an HTTP service that search a dataset."""
    from structxlip.serving.server import serve as serve_dataset

    serve_dataset(dataset, host, port, os.environ.get("STRUCTXLIP_TOKEN"))


@commands.command()
def embed(
    paths: Annotated[list[Path], typer.Argument(help="Folders, images, texts (.txt), or tables.")],
    model: Annotated[str, typer.Option(help="NAME@ALIAS, a URI of MLflow, or a folder.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    images: Annotated[str | None, typer.Option(help="The column of paths of tables.")] = None,
    texts: Annotated[str | None, typer.Option(help="The column of texts of tables.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the edges of images.")] = None,
) -> None:
    """Embed images or texts of any folder, table or list; on a cluster where there is one."""
    from structxlip.serving.bulk import embed as embed_inputs
    from structxlip.serving.bulk import find_inputs

    embed_inputs(find_inputs(paths, images, texts), model, alpha, out)


@commands.command()
def export(
    dataset: DatasetArgument,
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    to: Annotated[
        Literal["hf", "open_clip", "onnx"],
        typer.Option(help="For transformers, for open_clip, or for onnxruntime."),
    ],
    arm: Annotated[
        Arm | None, typer.Option("--arm", help="Default: the arm that is registered.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Write a trained model as other libraries load it, with its model card."""
    from structxlip.serving.export import export as export_model
    from structxlip.tracking.origin import origin

    loaded = dataset_params(params, dataset)
    export_model(loaded, dataset, to, folder, origin(loaded, dataset), arm)


@commands.command()
def match(
    dataset: DatasetArgument,
    folder: Annotated[Path, typer.Argument(help="The folder with the pictures.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="The lowest cosine of a match. Default: 1 % of new pictures reach it."),
    ] = None,
    by: Annotated[
        Literal["structure", "content", "fused"], typer.Option(help="What is compared.")
    ] = "structure",
) -> None:
    """Print which pictures of a folder are in a dataset, in whatever colours, as JSON lines."""
    import json
    from dataclasses import asdict

    from structxlip.serving.matching import find_matches
    from structxlip.serving.search import Searcher

    for found in find_matches(Searcher(dataset), folder, threshold, by):
        typer.echo(json.dumps(asdict(found), ensure_ascii=False))


@commands.command()
def classify(
    dataset: DatasetArgument,
    labels: Annotated[
        Path, typer.Option(help="One label a line, or a table with the columns id and label.")
    ],
) -> None:
    """Print the best label of every image, without training, and how many are right if known."""
    import json

    from structxlip.progress import say
    from structxlip.serving.classification import classify as best_labels
    from structxlip.serving.classification import read_labels
    from structxlip.serving.search import Searcher

    names, true = read_labels(labels)
    searcher = Searcher(dataset)
    chosen = [names[place] for place in best_labels(searcher.index, searcher.embedder, names)]
    for image, label in zip(searcher.index.ids, chosen, strict=True):
        typer.echo(json.dumps({"id": image, "label": label}, ensure_ascii=False))
    right = [
        true[i] == label for i, label in zip(searcher.index.ids, chosen, strict=True) if i in true
    ]
    if right:
        say(f"classify {dataset}: {sum(right) / len(right):.1%} of {len(right)} images are right")
