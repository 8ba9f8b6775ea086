"""The notebook runs, cell by cell, on the drawings that stand in for the data of a user."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples/your_data.ipynb").read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "outputs are not committed"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    said = capsys.readouterr().out
    assert names["entry"]["kind"] == "table"
    assert sum(names["report"]["splits"].values()) == 24
    assert said.count("  -> ") == 3
    assert names["picture"].size == (3 * 192, 2 * 192)
    assert all(len(text) < len(pair["captions"][0])
               for text, pair in zip(names["kept"], names["pairs"], strict=True))  # fmt: skip


def test_the_image_needs_what_git_knows_alone() -> None:
    """What Git ignores does not enter the image either, and what it copies is there."""
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    left_out = (ROOT / ".dockerignore").read_text()
    for name in filter(lambda line: line and not line.startswith("#"), ignored):
        assert name in left_out or re.fullmatch(r"\.\w+_cache", name), name
    for source in re.findall(r"^COPY --chown=\w+ (\S+)", (ROOT / "Dockerfile").read_text(), re.M):
        assert (ROOT / source).exists()
