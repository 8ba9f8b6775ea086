"""A disk that fills up while a stage writes, or is read-only: one sentence, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.full_disk import mount_namespace
from tests.operation import ROOT, Project

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("after the pipeline: stages")]
# Each stage, and the KiB that are left: too few for what it writes, or None on a read-only disk.
CASES: list[tuple[str, int | None]] = [
    ("ingest", 0),
    ("edges", 16),
    ("captions", 16),
    ("features", 512),  # room for the small files, not for the arrays
    ("train", 0),  # not even for Ray's own files, which go to TMPDIR
    ("train", 256),  # not for a checkpoint; Ray's files lie elsewhere
    ("evaluate", 64),
    ("package", 600),  # not for the model
    ("edges", None),
]


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder with a short path, in which Ray's sockets find room."""
    with tempfile.TemporaryDirectory(prefix="disk-", dir="/tmp") as folder:
        place = Path(folder, "disk")
        place.mkdir()
        yield place


def test_a_full_disk_is_one_sentence(project: Project, disk: Path) -> None:
    done = subprocess.run(
        [
            *mount_namespace(),
            *(sys.executable, "-m", "tests.full_disk", project.folder, disk, json.dumps(CASES)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for case, ending in zip(CASES, json.loads(done.stdout), strict=True):
        lines = ending["said"].splitlines()
        assert ending["code"] == 1, (case, ending)
        assert ending["whole"], case
        passing = ("train scenes", "the training goes on, but ")  # its progress, and that of Ray
        # On a busy machine Ray's controller waits in vain for a helper, and logs that at length.
        told = [x for x in lines if not x.startswith(passing) and "(TrainController pid=" not in x]
        # That MLflow takes no metrics, and why it ends.
        assert len(told) <= 2, "\n".join([str(case), *lines])
        if case[1] is None:
            assert lines[-1].endswith("is read-only; run this in a folder that can be written")
        else:
            assert lines[-1] == (
                f"structxlip: the disk is full: {disk} takes no more; free some space there, then "
                f"run the same command again"
            )
