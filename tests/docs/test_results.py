"""results.md is rebuilt from report folders, table by table."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = """# Results
<!-- table: scenes/compare -->
old
<!-- end -->
between
<!-- table: scenes/metrics -->
old
<!-- end -->
<!-- table: photos/compare -->
as it was
<!-- end -->
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("make_results", ROOT / "docs/make_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_made_from_the_files_that_are_there(script: ModuleType, tmp_path: Path) -> None:
    scenes = tmp_path / "reports/scenes"
    scenes.mkdir(parents=True)
    (scenes / "compare.md").write_text("| new |\n|---|\n| 1 |\n")
    recalls = {
        f"{way}/R@{k}": 10.0 * k for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)
    }
    gain = {"R@1": {"mean": 1.25, "low": 0.5, "high": 2.0}}
    models = ("base", "vanilla", "structxlip_image_only", "structxlip")
    metrics = {"alpha": 0.3, "delta": gain, "delta_image_only": gain} | dict.fromkeys(
        models, recalls
    )
    (scenes / "comparison.json").write_text(json.dumps(metrics))
    text, missing = script.rebuild(PAGE, tmp_path)
    assert missing == ["photos/compare"]
    assert "<!-- table: scenes/compare -->\n| new |\n|---|\n| 1 |\n<!-- end -->" in text
    assert "| vanilla fine-tuning | 10.0 | 50.0 | 100.0 | 10.0 | 50.0 | 100.0 |  |" in text
    assert "+1.2 [+0.5, +2.0] |" in text
    assert "`dvc repro evaluate@scenes`, commit " in text
    assert "<!-- table: photos/compare -->\nas it was\n<!-- end -->" in text
    assert "old" not in text
    assert script.rebuild(text, tmp_path) == (text, missing)


def test_every_table_of_the_page_is_closed(script: ModuleType) -> None:
    page = (ROOT / "docs/results.md").read_text()
    opened = page.count("<!-- table: ")
    assert opened == page.count("<!-- end -->") == len(script.BLOCK.findall(page)) > 0
