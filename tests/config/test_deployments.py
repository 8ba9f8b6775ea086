"""The schedule of a dataset is written into prefect.yaml, or is one sentence."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from structxlip.config.deployments import schedule_dataset
from structxlip.errors import UserError
from tests.operation import ROOT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "prefect.yaml", tmp_path))


def test_a_deployment_is_written_and_its_schedule_replaced(file: Path) -> None:
    before = yaml.safe_load(file.read_text())["deployments"]
    schedule_dataset(file, "satellite", "0 4 * * 2", "Europe/Berlin")
    *others, written = yaml.safe_load(file.read_text())["deployments"]
    assert others == before
    assert written["name"] == "retrain-satellite"
    assert written["parameters"] == {"dataset": "satellite"}
    assert written["schedules"] == [
        {"cron": "0 4 * * 2", "timezone": "Europe/Berlin", "active": True}
    ]
    text = file.read_text()
    assert text.startswith("# Deployments"), "comments stay"
    schedule_dataset(file, "satellite", "0 4 * * 3", "UTC")
    assert file.read_text() == text.replace("* * 2", "* * 3").replace("Europe/Berlin", "UTC")


@pytest.mark.parametrize(
    ("cron", "timezone", "sentence"),
    [
        ("0 25 * * *", "UTC", "'0 25 * * *' is no schedule (Bad hour); give minute, hour"),
        ("weekly", "UTC", "'weekly' is no schedule"),
        ("0 3 * * * 1", "UTC", "is no schedule (Wrong number of fields"),
        ("0 3 * * 1", "Berlin", "'Berlin' is no time zone; give one such as Europe/Berlin"),
        ("0 3 * * 1", "../UTC", "is no time zone"),
    ],
)
def test_a_mistake_is_one_sentence(file: Path, cron: str, timezone: str, sentence: str) -> None:
    before = file.read_text()
    with pytest.raises(UserError, match=re.escape(sentence)):
        schedule_dataset(file, "satellite", cron, timezone)
    assert file.read_text() == before
