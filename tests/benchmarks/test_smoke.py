"""Every benchmark and every example runs: with --smoke it prints the rows that it should."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS, EXAMPLES = ROOT / "benchmarks", ROOT / "examples"
STRAIGHT = "straight from the formulas"
TIMEOUT_S = 600
# The first cells of the rows that each script prints with --smoke; examples print no table.
ROWS = {
    "benchmarks/captions.py": ["scenes", "scenes"],
    "benchmarks/cached.py": ["cached", "image tower, captions cached", "both towers"],
    "benchmarks/duplicates.py": [
        *("the same file", "JPEG of quality 75", "JPEG of quality 40", "half as large"),
        *("brighter", "half of the saturation", "grey"),
        *("1 % cropped", "2 % cropped", "5 % cropped"),
        *("in other hues", "mirrored"),
    ],
    "benchmarks/edge_encoders.py": [
        "none (vanilla)",
        "16, 24, 40, 56 channels",
        "24, 48, 80, 112; 1 chunk",
    ],
    "benchmarks/embed.py": ["folder", "folder", "one image", "one image"],
    "benchmarks/fuzz_sources.py": [
        *("table", "coco", "karpathy", "docci", "dci", "deepfashion_multimodal"),
        *("structxlip_json", "medpix", "fashion_products", "flickr", "mimic_cxr"),
        *("imagefolder", "webdataset", "hf_dataset"),
    ],
    "benchmarks/gate.py": [
        *(
            effect
            for effect in (
                *("none", "+1", "+3", "-1, all of it on one slice", "-2, all of it on one slice"),
                *(f"{share} % poisoned" for share in (5, 10, 20, 30, 50)),
            )
            for _ in range(2)  # rules
        ),
        *("+0", "+8"),
    ],
    "benchmarks/growth.py": ["edges, thumbnails, 17 words"],
    "benchmarks/hypotheses.py": ["vanilla", "image_tower, without region-chunk"],
    "benchmarks/kills.py": ["0"],
    "benchmarks/losses.py": [
        name
        for name in (
            "ContrastiveLoss",
            "SigmoidContrastiveLoss",
            "RegionChunkAttentionLoss",
            "RegionChunkLoss",
            "ProjectedL2ConsistencyLoss",
            "CosineConsistencyLoss",
        )
        for _ in range(2)  # sizes
    ],
    "benchmarks/preprocessing.py": [
        "bare loop",
        "stage, in this process",
        "bare loop, 8 regions",
        "stage, in this process, 8 regions",
        "bare nlp.pipe, batches of 8",
        "stage, in this process",
    ],
    "benchmarks/retrieval.py": ["retrieval_metrics", "full sort"],
    "benchmarks/scale.py": ["ingest", "edges"],
    "benchmarks/search.py": ["exact", "graph"],
    "benchmarks/service.py": ["embed, no service", "search, no service", "embed", "search"],
    "benchmarks/training.py": [
        *("clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"),
        *(STRAIGHT, "structxlip"),
        *(STRAIGHT, "structxlip, crops as large"),
        *(STRAIGHT, "structxlip"),
        *("open_clip_train", "structxlip, texts of 77 tokens", "structxlip, texts as they are"),
        *("training", "loading"),
        *("training", "loading"),
        "edge encoder, forward and backward",
        *("structxlip", "structxlip with loading", "vanilla"),
    ],
    "benchmarks/uses.py": [
        *("hue turned by 120°", "grey", "four levels a channel", "blurred, σ 3"),
        *("JPEG, quality 10", "cropped by 10 %"),
        *("pencil drawing", "bent outlines"),
        *("vanilla", "structxlip, content", "structxlip, structure", "structxlip, fused"),
    ],
    "examples/hf_trainer.py": [],
    "examples/plug_and_play.py": [],
}


@cache
def output(script: str) -> str:
    """The output of a script with --smoke; it runs once for all tests."""
    command = [sys.executable, script, "--smoke"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(script: str) -> list[list[str]]:
    """The cells of all rows of the tables that a script prints, without the heads."""
    lines = [line for line in output(script).splitlines() if line.startswith("|")]
    heads = {i - 1 for i, line in enumerate(lines) if line.startswith("|---")}
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for i, line in enumerate(lines)
        if i not in heads and i - 1 not in heads
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("script", ROWS)
def test_every_script_prints_its_rows(script: str) -> None:
    assert [row[0] for row in rows(script)] == ROWS[script]


@pytest.mark.e2e
def test_a_killed_training_has_the_weights_of_an_unbroken_one() -> None:
    ((_, driver, group, ended, equal),) = rows("benchmarks/kills.py")
    assert (driver, group) == ("1", "1")
    assert int(equal) == int(ended) > 0


@pytest.mark.e2e
def test_the_losses_are_those_of_the_formulas() -> None:
    losses = rows("benchmarks/training.py")[:4]
    assert all(float(value) > 0 for _, value, *_ in losses)
    assert all(float(error) < 1e-5 for _, _, *errors in losses for error in errors)


@pytest.mark.e2e
def test_every_noun_of_the_drawings_is_in_a_chunk() -> None:
    assert float(rows("benchmarks/captions.py")[0][4]) >= 99


@pytest.mark.e2e
def test_edge_encoders_differ_in_size() -> None:
    _, small, large = (cells[1] for cells in rows("benchmarks/edge_encoders.py"))
    assert float(small) < float(large)


@pytest.mark.e2e
def test_a_graph_finds_what_comparing_all_finds() -> None:
    assert float(rows("benchmarks/search.py")[1][4]) >= 0.98


@pytest.mark.e2e
def test_copies_are_left_out_and_other_hues_stay() -> None:
    found = {name: cells for name, *cells in rows("benchmarks/duplicates.py")}
    assert found["the same file"][:2] == ["left out", "100.0"]
    assert found["in other hues"][:2] == ["stays", "0.0"]


@pytest.mark.e2e
@pytest.mark.parametrize("script", [script for script in ROWS if script.startswith("examples/")])
def test_every_loss_of_an_example_falls(script: str) -> None:
    first, *_, last = [
        {term: float(value) for term, value in re.findall(r"(\w+_loss) ([\d.]+)", line)}
        for line in output(script).splitlines()
        if line.startswith("step ")
    ]
    assert set(first) == {"clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"}
    for term in ("clip_loss", "edge_text_loss", "region_chunk_loss"):
        assert last[term] < first[term]


def test_no_script_is_forgotten() -> None:
    scripts = [path for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text()]
    scripts += EXAMPLES.glob("*.py")
    assert {str(path.relative_to(ROOT)) for path in scripts} == set(ROWS)


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_every_file_of_the_benchmarks_imports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    assert importlib.import_module(name).__doc__
