"""Trials: what `dvc exp run` tries. Each keeps its run, and none registers a model.

With `--temp` and `--queue` DVC runs a trial in a copy of the project that it removes afterwards. It
tells by environment variables which trial it is, and of which project.
"""

from __future__ import annotations

import os
from pathlib import Path


def trial_name() -> str | None:
    """The name that DVC gave this trial; None outside of one."""
    return os.environ.get("DVC_EXP_NAME")


def project_folder() -> Path:
    """The folder that keeps the runs: this one, or for a copy of a trial that of its project."""
    here, root = Path.cwd().resolve(), os.environ.get("DVC_ROOT")
    if root and here.is_relative_to(Path(root, ".dvc", "tmp").resolve()):
        return Path(root).resolve()
    return here
