"""Folders in which the stages have made what a benchmark trains on."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
KEPT = 64  # pairs of the other splits, which nothing here reads


@dataclass(frozen=True)
class Project:
    """A folder with params.yaml and the artifacts of one dataset."""

    folder: Path
    dataset: str
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # of `train` and `machine`

    @property
    def data(self) -> Path:
        return self.folder / "data" / self.dataset

    @property
    def params(self) -> Any:
        from structxlip.config import Params, load_params

        content = load_params(self.folder / "params.yaml").model_dump(by_alias=True)
        content["recipes"][content["recipe"]]["train"] |= self.changes.get("train", {})
        content["machine"] |= self.changes.get("machine", {})
        return Params.model_validate(content)

    def but(self, **changes: dict[str, Any]) -> Project:
        """The same data with other values of `train` or `machine`."""
        return replace(self, changes=changes)


def prepare(
    folder: Path,
    options: argparse.Namespace,
    recipe: str,
    clip: dict[str, Any] | None = None,
    **model: Any,
) -> Project:
    """A project that follows a recipe on some pairs of the dataset, with its features made."""
    project = Project(folder, options.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    chosen = params["recipes"][recipe]
    if clip is not None:
        file = folder / f"{folder.name}_random.json"
        file.write_text(json.dumps(clip))
        model |= dict.fromkeys(("image_tower", "text_tower"), f"open_clip:{file}")
        chosen["train"] |= {"batch_size": options.batch, "precision": options.precision}
    chosen["model"] |= model
    entry = params["datasets"].get(options.dataset) or params["presets"][options.dataset]
    entry["path"] = str(options.path or ROOT / entry["path"])
    if entry["kind"] == "scenes":
        entry |= {"train": options.pairs, "val": KEPT, "test": KEPT}
    params |= {"recipe": recipe, "datasets": {options.dataset: entry}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    if (project.data / "features").is_dir():
        return project
    for stage in ("ingest", "edges", "captions", "features"):
        command = [Path(sys.executable).with_name("structxlip"), stage]
        command += ["--dataset", options.dataset]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        if stage == "ingest":
            thin(project.data / "pairs", options.pairs)
    return project


def thin(pairs: Path, count: int) -> None:
    """Leave the first so many training pairs of a pair store, and no others but a few."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from structxlip.data.pairs import ROW_GROUP_PAIRS, shards

    kept, left = [], {"train": count, "val": KEPT, "test": KEPT}
    for path in shards(pairs):
        table = pq.read_table(path)
        for split, wanted in left.items():
            of_split = table.filter(pa.compute.equal(table["split"], split))[:wanted]
            kept.append(of_split)
            left[split] -= len(of_split)
        path.unlink()
    pq.write_table(pa.concat_tables(kept), pairs / "part-00000.parquet", ROW_GROUP_PAIRS)


def export(project: Project) -> Path:
    """The pairs as files and a JSON list of them, as plain code reads them."""
    import pyarrow.parquet as pq

    from structxlip.data.feature_store import FeatureStore
    from structxlip.data.pairs import shards

    def rows(artifact: str, columns: list[str]) -> list[dict[str, Any]]:
        paths = shards(project.data / artifact)
        return [row for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]

    folder = project.folder / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    store = FeatureStore(project.data / "features")
    most = project.params.active.train.regions_per_image
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
    return folder / "pairs.json"
