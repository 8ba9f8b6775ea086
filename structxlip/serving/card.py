"""The model card: what a model is, what it was trained on, how well it retrieves, its limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.evaluation.chosen import embedding_metrics
from structxlip.incremental.artifacts import DATA, MODELS, REPORTS
from structxlip.models.structxlip import read_config
from structxlip.reports.comparison import comparison_table, gain_sentence, validation_text
from structxlip.reports.markdown import markdown_table

CARD = "README.md"  # as model hubs name it
# Licences of the weights of towers, by the names of towers.
LICENCES = {
    "packaged:efficientnet-lite0": "Apache-2.0",
    "packaged:all-minilm-l6-v2": "Apache-2.0",
}
VERSIONS = ("structxlip", "torch", "timm", "open_clip_torch", "transformers")
PAGE = """
# {title}

{what}

```python
import structxlip

model = structxlip.load("structxlip-{dataset}@champion")
images = model.embed_images(["a.jpg", "b.jpg"])  # float32 [2, D], of unit length
texts = model.embed_texts(["some words"])
```

## Data
{data}

## Retrieval
Recall in percent on {images:,} test images and {captions:,} captions. Gains are in points, with
their 95 % intervals.

{recall}

{gain}. {validation}
{slices}
## Limits
{limits}

## Licences of the towers
{licences}

## Lineage
{lineage}
"""


def write_card(
    file: Path, params: Params, dataset: str, arm: str, origin: Mapping[str, str]
) -> None:
    """Write the card of a trained arm, with the front matter that model hubs read.

    Args:
        file: to write.
        params: of the run.
        dataset: its name.
        arm: `vanilla` or `structxlip`.
        origin: what the model comes from, by names.

    Raises ``UserError`` where the dataset is not evaluated.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    metrics = read_comparison(dataset)
    recalls = embedding_metrics(metrics, arm)
    results = [
        EvalResult(
            task_type="image-text-retrieval",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split="test",
            metric_type="recall",
            metric_name=f"{way.replace('_', ' ')} R@{k}",
            metric_value=round(recalls[f"{way}/R@{k}"], 2),
        )
        for way in ("image_to_text", "text_to_image")
        for k in (1, 5, 10)
    ]
    data = ModelCardData(
        language="en",
        library_name="structxlip",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "image-text-retrieval", "edge-maps"],
        model_name=f"structxlip-{dataset}",
        eval_results=results,
    )
    text = _page(params, dataset, arm, metrics, origin)
    ModelCard(f"---\n{data.to_yaml()}\n---\n{text}").save(file)


def read_comparison(dataset: str) -> dict[str, Any]:
    """The content of ``comparison.json``; ``UserError`` where the dataset is not evaluated."""
    path = REPORTS / dataset / "comparison.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except OSError:
        raise UserError(f"{path} is missing; run `dvc repro package@{dataset}` first") from None
    return found


def _page(
    params: Params, dataset: str, arm: str, metrics: dict[str, Any], origin: Mapping[str, str]
) -> str:
    config = read_config(MODELS / dataset / arm)
    header, *rows = comparison_table(metrics)
    made = {name: value for name, value in origin.items() if value}
    made |= {name: version(name) for name in VERSIONS}
    return PAGE.format(
        title=f"structxlip-{dataset}, {arm}",
        what=_what(params, arm, metrics, config),
        dataset=dataset,
        data=_data(params, dataset),
        images=metrics["test_pairs"],
        captions=metrics["test_captions"],
        recall=markdown_table(header, rows),
        gain=_sentence(gain_sentence(metrics)),
        validation=validation_text(metrics),
        slices=_slices(metrics),
        limits=_list(_limits(params, dataset, arm, metrics)),
        licences=_list(_licences(config)),
        lineage=markdown_table(["what", "value"], [[name, made[name]] for name in made]),
    )


def _what(params: Params, arm: str, metrics: dict[str, Any], config: dict[str, Any]) -> str:
    trained = "heads on frozen towers" if config["trained"] == "heads" else "a CLIP"
    edges = ""
    if arm == "structxlip":
        edges = f" It reads edge maps of images too, with the weight α = {metrics['alpha']:g}."
    return (
        f"An image and text retrieval model: {trained}, fine-tuned by StructXLIP with the recipe "
        f"`{params.recipe}`, arm `{arm}`. Image tower `{Path(config['image_tower']).name}`, text "
        f"tower `{Path(config['text_tower']).name}`, images of {config['image_px']} px.{edges}"
    )


def _data(params: Params, dataset: str) -> str:
    report = json.loads((DATA / dataset / "pairs" / "report.json").read_text())
    splits = markdown_table(
        ["split", "pairs"], [[n, f"{v:,}"] for n, v in report["splits"].items()]
    )
    left_out = (
        ", ".join(f"{n:,} for {why}" for why, n in report["quarantined"].items()) or "nothing"
    )
    return (
        f"The dataset `{dataset}` (of the kind `{params.datasets[dataset].kind}`): "
        f"{report['pairs']:,} images with {report['captions']:,} captions.\n\n{splits}\n\n"
        f"Left out at ingestion: {left_out}. Near-duplicates of validation and test images: "
        f"{params.ingest.near_duplicates}."
    )


def _slices(metrics: dict[str, Any]) -> str:
    """The tables of parts of the test split; see ``slice_tables``."""
    tables = (
        f"\n{part['title']}:\n\n{markdown_table(part['table'][0], part['table'][1:])}\n"
        for part in metrics.get("slices", [])
    )
    return "".join(tables)


def _limits(params: Params, dataset: str, arm: str, metrics: dict[str, Any]) -> list[str]:
    found = [
        f"It was trained and tested on `{dataset}` alone. On other pictures and other words it is "
        f"likely to do worse; test it on yours.",
        "It ranks pictures and texts; a score is no probability, and the best answer may be wrong.",
        "What its towers have learned of the world, with its biases, is still in it.",
    ]
    if sharing := metrics.get("test_pairs_sharing_a_caption"):
        found.append(f"{sharing} test images share a caption, so that each counts as right for it.")
    found.append("Validation chose α and β. The registry's gate compares versions on test images.")
    if arm == "structxlip" and metrics["delta"]["R@1"]["low"] <= 0:
        found.append("That structure helps here is not shown: the interval of the gain includes 0.")
    return found


def _licences(config: dict[str, Any]) -> list[str]:
    unknown = "that of its weights; see where you took them from"
    names = dict.fromkeys((config["image_tower"], config["text_tower"]))
    return [f"`{Path(name).name}`: {LICENCES.get(name, unknown)}" for name in names]


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
