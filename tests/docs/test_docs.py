"""The documentation says what the code does: it builds, its links lead somewhere, its lines run."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from structxlip.cli import app
from structxlip.config.datasets import dataset_kinds
from tests.docs.pages import DOCS, PAGES, ROOT, blocks, links
from tests.import_graph import STAGES
from tests.test_architecture import LEVELS

README = ROOT / "README.md"
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a broken link, a missing page or an unknown reference fails."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_readme_opens_with_what_it_is() -> None:
    title, opening, *_ = README.read_text(encoding="utf-8").split("\n\n")
    assert title.startswith("# ")
    assert opening[0].isalpha()
    assert "is for" in opening


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    paths = [link.partition("#")[0] for link in links(page) if not link.startswith("http")]
    assert [path for path in paths if path and not (page.parent / path).exists()] == []


@pytest.mark.parametrize("page", [README, DOCS / "use.md"], ids=lambda page: page.name)
def test_python_lines_print_what_the_page_shows(page: Path) -> None:
    code = "\n".join(block for block in blocks(page, "python") if block.startswith(">>>"))
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    assert test.examples
    told: list[str] = []
    failed = doctest.DocTestRunner().run(test, out=told.append).failed
    assert not failed, "".join(told)


def test_every_parameter_is_explained(site: Path) -> None:
    page = (site / "recipes.html").read_text(encoding="utf-8")
    of_file = {k: v for k, v in PARAMS.items() if k not in ("datasets", "presets", "recipes")}
    sections = [of_file, *PARAMS["recipes"].values()]
    keys = {key for section in sections for key in flat(section)}
    assert {key for key in keys if f'id="{key}"' not in page} == set()


def flat(content: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of all values; a mapping without keys is a value."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_every_kind_of_dataset_is_explained(site: Path) -> None:
    page = (site / "data.html").read_text(encoding="utf-8")
    assert [kind for kind in dataset_kinds() if f'id="{kind}"' not in page] == []
    entries = [*PARAMS["datasets"].values(), *PARAMS["presets"].values()]
    keys = {key for entry in entries for key in entry}
    assert {key for key in keys if f"<code>{key}</code>" not in page} == set()


def test_every_reason_of_the_quarantine_is_explained() -> None:
    code = "".join(p.read_text() for p in (ROOT / "structxlip" / "data").rglob("*.py"))
    reasons = re.findall(r'Bad(?:Image|Caption)\(\s*"(\w+)"', code)
    assert len(reasons) > 10
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()


def test_every_room_and_stage_is_explained() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    names = [name for name in LEVELS if f"| `{name}/` |" not in page]
    assert [name for name in names if f"| `{name}.py` |" not in page] == []
    assert [stage for stage in STAGES if f"| `{stage}` |" not in page] == []


def test_markers_say_what_the_site_has() -> None:
    """A reader of the Markdown sees nothing in the place of a marker, so a line says what it is."""
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    made = {name for name, text in texts.items() if "<!-- made: " in text} - {"index.md"}
    assert {name for name in made if "On the site (`make docs`)" not in texts[name]} == set()


def test_every_command_is_in_the_documentation() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    names = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert {"recipe", "params", *STAGES} <= names
    assert {name for name in names - {*STAGES} if f"structxlip {name}" not in text} == set()


def test_the_site_fetches_nothing(site: Path) -> None:
    """No script, style, font or image comes from the network."""
    fetching = re.compile(r"<(?:script|img|iframe|link)\b[^>]*https?://[^>]*>")
    pages = [page.read_text(encoding="utf-8") for page in site.rglob("*.html")]
    assert pages
    assert {tag for page in pages for tag in fetching.findall(page)} == set()
