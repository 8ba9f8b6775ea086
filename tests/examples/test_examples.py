"""The examples run as their first lines say, and train."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_loss_falls(name: str) -> None:
    command = [sys.executable, str(EXAMPLES / name), "--steps", "15"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *_, last = [
        {term: float(value) for term, value in re.findall(r"(\w+_loss) ([\d.]+)", line)}
        for line in done.stdout.splitlines()
        if line.startswith("step ")
    ]
    assert set(first) == {"clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"}
    for term in ("clip_loss", "edge_text_loss", "region_chunk_loss"):
        assert last[term] < first[term]
