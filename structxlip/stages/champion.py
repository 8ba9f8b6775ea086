"""Stage `champion`: the champion as it is when the pairs change, `models/<dataset>/champion`, and
what the arms start from, `models/<dataset>/start`.

It is fetched once for new pairs. So the data check and the trainings that follow are functions of
files, and a later promotion makes no stage run again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from structxlip.config import Params
from structxlip.data.shards import read_shards
from structxlip.incremental.artifacts import DATA, MODELS, atomic_directory
from structxlip.progress import say
from structxlip.tracking.champion import SEEN, champion_version, fetch
from structxlip.tracking.split import Seen


def champion(params: Params, dataset: str) -> None:
    """Fetch the champion of a dataset from MLflow, where there is one."""
    version, models = champion_version(dataset), MODELS / dataset
    with atomic_directory(models / "champion") as folder:
        if version is not None:
            fetch(f"structxlip-{dataset}", version, folder)
        (folder / "champion.json").write_text(json.dumps({"version": version}) + "\n")
    say(f"champion {dataset}: {f'version {version}' if version else 'there is none yet'}")
    wanted = params.recipe_settings.train.start == "champion"
    with atomic_directory(models / "start") as folder:
        started = version if wanted and version and _may_start(dataset) else None
        if started:
            _copy_model(models / "champion", folder)
        (folder / "start.json").write_text(json.dumps({"version": started}) + "\n")


def _may_start(dataset: str) -> bool:
    """Whether the champion has not seen the images that its successor is chosen and tested on."""
    rows = read_shards(DATA / dataset / "pairs", ["split", "sha256"]).to_pylist()
    seen = Seen.read(MODELS / dataset / "champion" / SEEN)
    again = sum(row["split"] == "test" and row["sha256"] in seen.images for row in rows)
    if not seen.images:
        say(f"champion {dataset}: it does not say what it was trained on; training starts anew")
    elif again:
        say(
            f"champion {dataset}: it was trained on {again} images that are in the test split now; "
            f"training starts anew"
        )
    return bool(seen.images) and not again


def _copy_model(champion: Path, target: Path) -> None:
    """Copy the model in a package, and what it was trained on."""
    (config,) = (champion / "package" / "artifacts").glob("*/config.json")
    shutil.copytree(config.parent, target, dirs_exist_ok=True)
    shutil.copy(champion / SEEN, target)
