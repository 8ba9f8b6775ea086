"""The origin of numbers: the commit and the versions that made them."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

# In the report, where the copy in MLflow names the version of the model.
VERSION_MARK = "<!-- version -->"
PACKAGES = ("numpy", "open_clip_torch", "opencv-python-headless", "ray", "timm", "torch")


@dataclass(frozen=True)
class Provenance:
    """The origin of the numbers of a table.

    Attributes:
        command: repeats them.
        commit: of the project.
        versions: of Python, of packages, and of the platform.
    """

    command: str
    commit: str
    versions: str

    @property
    def sentence(self) -> str:
        """All of it, for readers."""
        return f"`{self.command}`, commit {self.commit}; {self.versions}."


def provenance(command: str, project: Path = Path()) -> Provenance:
    """The command that repeats some numbers, the commit of a project folder, and the versions."""
    packages = [f"{package} {version(package)}" for package in PACKAGES]
    platform_name = f"{sys.platform} {platform.machine()}"
    versions = [f"Python {platform.python_version()}", *packages, platform_name]
    return Provenance(command, commit_of(project) or "none", ", ".join(versions))


def commit_of(project: Path = Path(), digits: int = 7, changed: str = " with changes") -> str:
    """The commit of a folder, followed by ``changed`` where files differ; empty outside of git."""
    command = ["git", "describe", "--always", f"--abbrev={digits}", f"--dirty={changed}"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], cwd=project, capture_output=True, text=True, check=False
        )
    except OSError:  # git is not installed
        return ""
    return done.stdout.strip()
