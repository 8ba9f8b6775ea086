"""The whole pipeline with the real tools, small: Prefect, DVC, Ray, MLflow."""

from __future__ import annotations

import json
from pathlib import Path

from ruamel.yaml import YAML

from tests.cluster import RayCluster
from tests.operation import Project

SMALL = {
    "datasets": {"scenes": {"train": 96, "val": 24, "test": 32, "image_px": 96}},
    "recipes": {
        "frozen": {
            "model": {"image_px": 96, "max_tokens": 64},
            "edges": {"size_px": 64, "max_regions": 8},
            "train": {"epochs": 12, "batch_size": 32, "warmup_epochs": 1},
            "evaluation": {"bootstrap_samples": 100},
        }
    },
    "machine": {"workers": 2},
}


def set_params(project: Project, changes: dict[str, object]) -> None:
    """Change values in the params.yaml of a project."""
    yaml = YAML()
    path = project.folder / "params.yaml"
    content = yaml.load(path.read_text())

    def merge(into: dict[str, object], new: dict[str, object]) -> None:
        for key, value in new.items():
            if isinstance(value, dict):
                merge(into[key], value)  # type: ignore[arg-type]
            else:
                into[key] = value

    merge(content, changes)
    with path.open("w") as file:
        yaml.dump(content, file)


def run_pipeline(folder: Path, cluster: RayCluster) -> None:
    """A small copy of this project, in which `make up`, a run of the deployment and `make down`
    have done everything, on a cluster. `jobs.json` lists what ran on both of its nodes."""
    project = Project.create(folder)
    project.copy("structxlip", "assets", "dvc.yaml")
    set_params(project, SMALL)
    try:
        up = project.services("up", **cluster.environment)
        assert up.returncode == 0, up.stdout + up.stderr
        done = project.run_deployment(environment={})
        assert done.returncode == 0, done.stdout + done.stderr
        forced = project.run("structxlip", "register", "scenes", "--force", "the data is tiny")
        assert forced.returncode == 0, forced.stderr
    finally:
        assert project.services("down").returncode == 0
    assert project.processes() == []
    jobs = sorted(cluster.jobs("first") & cluster.jobs("second"))
    (project.folder / "jobs.json").write_text(json.dumps(jobs))
