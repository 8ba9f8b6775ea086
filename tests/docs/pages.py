"""The documentation as data: its pages, their code blocks and their links."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])

_BLOCK = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLED = re.compile(
    r'^```\w+ title="(?P<title>[^"]+)"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language, titled or not."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [block["code"] for block in found if block["language"] == language]


def titled_blocks(page: Path) -> dict[str, str]:
    """The code blocks of a page that have a title, by it."""
    return {b["title"]: b["code"] for b in _TITLED.finditer(page.read_text(encoding="utf-8"))}


def links(page: Path) -> list[str]:
    """The targets of all links and images of a page, outside of code blocks."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return _LINK.findall(text)
