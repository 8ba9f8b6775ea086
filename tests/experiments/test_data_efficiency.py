"""`data-efficiency`: both arms on the same shares of the training pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from structxlip.config import Params
from structxlip.experiments.data_efficiency import SHARES, compared, data_efficiency
from tests.experiments.test_compare import outcomes
from tests.store import Artifacts


@pytest.mark.e2e
def test_every_share_has_its_row(project: Artifacts, short: Params) -> None:
    data_efficiency(short, "scenes", [0])
    found = json.loads(Path("reports/scenes/data-efficiency.json").read_text())
    assert list(found["rows"]) == [f"{share:g}" for share in SHARES]
    assert [row["pairs"] for row in found["rows"].values()] == [2, 3, 7, 14, 28]
    table = Path("reports/scenes/data-efficiency.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")] == [
        *("| training pairs", "| 5%", "| 10%", "| 25%", "| 50%", "| 100%")
    ]
    assert "<svg" in Path("reports/scenes/data-efficiency.svg").read_text()


def test_the_gain_is_that_of_the_same_share() -> None:
    row = compared(outcomes(0.8), outcomes(2.0), samples=200, seed=0)
    assert row["gain"]["mean"] == pytest.approx(
        row["structxlip"]["R@1"]["mean"] - row["vanilla"]["R@1"]["mean"]
    )
    assert row["gain"]["low"] > 0
