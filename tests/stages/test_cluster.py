"""Every stage on a Ray cluster of two nodes, by RAY_ADDRESS alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cluster import RayCluster
from tests.operation import Project

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("pipeline")]
# Nothing is little enough to be done in the process of the stage.
ON_RAY = """
from structxlip.cli import main
from structxlip.incremental import ray_map

ray_map.TRIAL_S = ray_map.RAY_START_S = -1
main()
"""


def test_a_scheduled_run_trains_on_both_nodes(project: Project) -> None:
    """`make up` had RAY_ADDRESS; what Prefect's worker started has joined the cluster."""
    assert (project.folder / "models/scenes/package/candidate.json").exists()
    assert len(json.loads((project.folder / "jobs.json").read_text())) >= 2  # both trainings


@pytest.mark.parametrize("stage", ["edges", "captions", "features"])
def test_workers_make_what_one_process_makes(
    stage: str, project: Project, cluster: RayCluster
) -> None:
    output = project.folder / "data/scenes" / stage
    before, jobs = contents(output), cluster.jobs("first") | cluster.jobs("second")
    shutil.rmtree(project.folder / ".cache/rows")
    done = project.run("python", "-c", ON_RAY, stage, "--dataset", "scenes", **cluster.environment)
    assert done.returncode == 0, done.stderr
    assert cluster.jobs("first") | cluster.jobs("second") > jobs
    assert contents(output) == before


def test_a_cluster_whose_token_is_not_here_is_one_sentence(
    project: Project, cluster: RayCluster, tmp_path: Path
) -> None:
    stranger = cluster.environment | {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    done = project.run(
        *("structxlip", "train", "--dataset", "scenes", "--arm", "vanilla"), **stranger
    )
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"\nstructxlip: the Ray cluster at RAY_ADDRESS={cluster.address} asks for its token; copy "
        f"~/.ray/auth_token from its first machine, and leave RAY_AUTH_MODE unset or set it to "
        f"token\n"
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
