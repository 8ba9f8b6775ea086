"""Projects for benchmarks: folders in which the stages have made the artifacts of a dataset."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from duel import Context, run_apart
from random_data import with_cnn
from structxlip.config import Arm, Params, load_params

if TYPE_CHECKING:
    from structxlip.training.run import TrainingRun

ROOT = Path(__file__).parents[1]
HELD_OUT = 4  # pairs of the validation and of the test split, which no benchmark reads
Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Project:
    """A folder with params.yaml and the artifacts of one dataset.

    Attributes:
        folder: of the project.
        dataset: its only dataset.
        changes: other values of the sections `train` and `machine`.
    """

    folder: Path
    dataset: str
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data" / self.dataset

    @property
    def params(self) -> Params:
        content = load_params(self.folder / "params.yaml").model_dump(by_alias=True)
        content["recipes"][content["recipe"]]["train"] |= self.changes.get("train", {})
        content["machine"] |= self.changes.get("machine", {})
        return Params.model_validate(content)

    def run(self, arm: Arm) -> TrainingRun:
        """The training of an arm."""
        from structxlip.training.run import TrainingRun

        return TrainingRun(self.params, arm, self.data / "features", self.data / "edges")

    def with_changes(self, **changes: dict[str, Any]) -> Project:
        """The same data with other values of `train` or `machine`."""
        return replace(self, changes=changes)

    def batches(self) -> tuple[Rows, Rows]:
        """The pairs and the captions of the batches of the first epoch, as rows of the store."""
        content = json.loads((self.folder / "batches.json").read_text())
        return content["pairs"], content["captions"]


def prepare(
    folder: Path,
    options: argparse.Namespace,
    context: Context,
    recipe: str,
    clip: dict[str, Any] | None = None,
    **changes: dict[str, Any],
) -> Project:
    """Make a project that follows a recipe on some pairs of a dataset.

    Args:
        folder: of the project; artifacts that are there are used again.
        options: of the command line: the dataset, the pairs, the batch size and the precision.
        context: starts the process in which the stages run.
        recipe: a recipe of the shipped params.yaml.
        clip: the configuration of a random CLIP, to be used for both towers; None leaves the
            towers, the batch size and the precision of the recipe.
        changes: other values in sections of the recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    chosen = params["recipes"][recipe]
    if recipe == "frozen":
        with_cnn(chosen)
    if clip is not None:
        file = folder / f"{folder.name}_random.json"
        file.write_text(json.dumps(clip))
        chosen["model"] |= dict.fromkeys(("image_tower", "text_tower"), f"open_clip:{file}")
        chosen["train"] |= {"batch_size": options.batch, "precision": options.precision}
    for section, values in changes.items():
        chosen[section] |= values
    entry = params["datasets"].get(options.dataset) or params["presets"][options.dataset]
    entry["path"] = str(options.path or ROOT / entry["path"])
    if entry["kind"] == "scenes":
        entry |= {"train": options.pairs, "val": HELD_OUT, "test": HELD_OUT}
    params |= {"recipe": recipe, "datasets": {options.dataset: entry}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project = Project(folder, options.dataset)
    run_apart(context, _make_artifacts, project, options.pairs)
    return project


def _make_artifacts(project: Project, train_pairs: int) -> None:
    """Run the stages, unless the features are there, and write the batches of the first epoch."""
    from structxlip.stages.captions import captions
    from structxlip.stages.edges import edges
    from structxlip.stages.features import features
    from structxlip.stages.ingest import ingest
    from structxlip.training.assembly import assemble

    os.chdir(project.folder)
    params = project.params
    if not (project.data / "features").is_dir():
        ingest(params, project.dataset)
        _thin(project.data / "pairs", train_pairs)
        for stage in (edges, captions, features):
            stage(params, project.dataset)
    epoch = assemble(project.run("vanilla")).batches.epoch(0)
    content = {name: [getattr(rows, name).tolist() for rows in epoch] for name in epoch[0]._fields}
    (project.folder / "batches.json").write_text(json.dumps(content))


def _thin(pairs: Path, train_pairs: int) -> None:
    """Keep the first pairs of each split of a pair store."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from structxlip.data.shards import ROW_GROUP_PAIRS, shards

    kept, missing = [], {"train": train_pairs, "val": HELD_OUT, "test": HELD_OUT}
    for path in shards(pairs):
        table = pq.read_table(path)
        for split, count in missing.items():
            of_split = table.filter(pc.equal(table["split"], split))[:count]
            kept.append(of_split)
            missing[split] -= len(of_split)
        path.unlink()
    pq.write_table(pa.concat_tables(kept), pairs / "part-00000.parquet", ROW_GROUP_PAIRS)


def export(project: Project, context: Context) -> Path:
    """Write the pairs as plain files and a JSON list of them; returns the list."""
    run_apart(context, _write_files, project)
    return _files(project) / "pairs.json"


def _files(project: Project) -> Path:
    return project.folder / "files"


def _write_files(project: Project) -> None:
    import pyarrow.parquet as pq

    from structxlip.data.shards import shards
    from structxlip.features.store import FeatureStore

    def rows(artifact: str, columns: list[str]) -> list[dict[str, Any]]:
        paths = shards(project.data / artifact)
        return [row for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]

    folder = _files(project)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    store = FeatureStore(project.data / "features")
    most = project.params.recipe_settings.train.regions_per_image
    maps = rows("edges", ["edges", "has_structure", "regions"])
    texts = rows("captions", ["id", "caption_index", "text", "structure", "chunks"])
    first = {text["id"]: text for text in texts if text["caption_index"] == 0}
    listed = []
    for i, pair in enumerate(rows("pairs", ["id", "image"])):
        (folder / f"{i}.image").write_bytes(pair["image"])
        (folder / f"{i}.png").write_bytes(maps[i]["edges"])
        text = first[pair["id"]]
        listed.append(
            {
                "image": f"{i}.image",
                "edges": f"{i}.png",
                "regions": [[box[side] for side in "xywh"] for box in maps[i]["regions"][:most]],
                "has_structure": maps[i]["has_structure"],
                "caption": text["text"],
                "structure": text["structure"],
                "chunks": [[chunk["start"], chunk["end"]] for chunk in text["chunks"]],
                "group": int(store.group_ids[i]),
            }
        )
    (folder / "pairs.json").write_text(json.dumps(listed))
