"""Hooks of mkdocs: while the site is built, they make parts of pages from the code.

A page holds a marker such as ``<!-- made: parameters -->``. The function of that name in ``MADE``
writes the text that replaces it, so that these parts cannot say anything else than the code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))  # for structxlip, and for the import graph of the tests

from structxlip.config.datasets import DatasetEntry, dataset_kinds  # noqa: E402
from structxlip.config.params import Params  # noqa: E402
from structxlip.config.recipe import RecipeEntry  # noqa: E402
from structxlip.config.reference import (  # noqa: E402
    KeyReference,
    example_entry,
    key_references,
    kind_description,
    kind_reference,
)

MARKER = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)
# A relative link or image of the README, whose targets lie elsewhere for a page of the site.
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the markers of a page."""
    return MARKER.sub(lambda marker: MADE[marker[1]](), markdown)


# --- The first page


def first_page() -> str:
    """The README, with its links as the site has them. Files outside of the site lose theirs."""

    def moved(link: re.Match[str]) -> str:
        image, text, target = link.groups()
        inside = target.removeprefix("docs/")
        return f"{image}[{text}]({inside})" if inside != target else text

    return LINK.sub(moved, (ROOT / "README.md").read_text(encoding="utf-8"))


# --- References of keys


def parameters() -> str:
    """Every key of params.yaml, grouped by section: first those of the file, then of a recipe."""
    keys = sorted(key_references(), key=lambda entry: bool(_section(entry)))  # those without first
    of_recipe = [e for e in keys if e.key.partition(".")[0] in RecipeEntry.model_fields]
    of_file = [e for e in keys if e not in of_recipe]
    fields = {field.alias or name: field for name, field in Params.model_fields.items()}
    return "\n\n".join(
        [
            "### Of the whole file",
            *_sections(of_file, fields),
            "### Of a recipe",
            *_sections(of_recipe, RecipeEntry.model_fields),
        ]
    )


def _sections(entries: list[KeyReference], fields: dict[str, Any]) -> Iterator[str]:
    for section, keys in groupby(entries, key=_section):
        if section:
            about = _plain_html(fields[section].description or "")
            yield f"#### `{section}` {{ #{section} }}\n\n{about}"
        yield from map(_definition, keys)


def _section(entry: KeyReference) -> str:
    return entry.key.partition(".")[0] if "." in entry.key else ""


def _definition(entry: KeyReference) -> str:
    default = "required" if entry.default is None else f"default `{entry.default}`"
    about = _plain_html(entry.description)
    return f"`{entry.key}` — {entry.values}; {default} {{ #{entry.key} }}\n:   {about}"


def kinds() -> str:
    """Every kind of dataset: what it is, an entry to copy, and its own keys."""
    shared = {key: field.description for key, field in DatasetEntry.model_fields.items()}
    shared["lexicons"] = ""
    parts = []
    for kind in dataset_kinds():
        own = [e for e in kind_reference(kind) if shared.get(e.key) not in ("", e.description)]
        parts.append(
            f"### `{kind}` {{ #{kind} }}\n\n{_plain_html(kind_description(kind))}\n\n"
            f"```yaml\n{example_entry(kind)}```\n\n{_table(own)}"
        )
    return "\n\n".join(parts)


def shared_keys() -> str:
    """The keys that the entries of all kinds have."""
    fields = DatasetEntry.model_fields
    rows = (f"| `{key}` | {_cell(field.description or '')} |" for key, field in fields.items())
    return _rows("| key | meaning |", rows)


def _table(entries: list[KeyReference]) -> str:
    def row(entry: KeyReference) -> str:
        required = "; required" if entry.default is None else ""
        return f"| `{entry.key}` | {_cell(entry.values)}{required} | {_cell(entry.description)} |"

    return _rows("| key | values | meaning |", map(row, entries))


def _rows(header: str, rows: Iterable[str]) -> str:
    return "\n".join([header, "|---" * (header.count("|") - 1) + "|", *rows])


def _cell(text: str) -> str:
    return _plain_html(text).replace("|", "\\|")


def _plain_html(text: str) -> str:
    """A description in Markdown, in which ``<dataset>`` is no tag."""
    return text.replace("``", "`").replace("<", "&lt;")


# --- The picture of the rooms

# The place of each room in the picture: column and row. A new room needs a place.
PLACES = {
    "flows": (0.5, 0),
    "commands": (2.15, 0),
    "tasks": (0.5, 1),
    "stages": (2.15, 1),
    "experiments": (3.3, 1),
    "training": (0, 2),
    "reports": (1.3, 2),
    "tracking": (2.75, 2),
    "doctor": (4.4, 1),
    "needs": (4.4, 2),
    "estimates": (5.5, 2),
    "evaluation": (1.7, 3),
    "serving": (2.75, 3),
    "captions": (4.4, 3),
    "models": (2.15, 4),
    "losses": (1.3, 5),
    "features": (3, 5),
    "incremental": (0, 6),
    "cues": (3.4, 6),
    "data": (2.15, 7),
    "config": (2.15, 8),
}
# Places between two boxes that an arrow passes through, so that it crosses none.
VIA = {
    ("stages", "captions"): (3.575, 2),
    ("needs", "models"): (3.575, 3),
}
# The command line itself, and rooms that everything may use: their arrows would hide the others.
HELPERS = ("cli", "errors", "progress", "ray_session")
BOX, STEP, MARGIN = (106, 32), (124, 66), 10


def rooms() -> str:
    """An SVG of the rooms and the imports between them, read off the code."""
    direct, by_name = room_imports()
    lines = [_arrow(one, other, dashed=False) for one, other in _needed(direct | by_name, direct)]
    lines += [_arrow(one, other, dashed=True) for one, other in sorted(by_name - direct)]
    boxes = [_box(name) for name in PLACES]
    width = MARGIN * 2 + BOX[0] + int(STEP[0] * max(x for x, _ in PLACES.values()))
    height = MARGIN * 2 + BOX[1] + STEP[1] * max(y for _, y in PLACES.values())
    return (
        f'<figure class="rooms"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="The rooms of the code and the imports between them">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{''.join(lines)}{''.join(boxes)}</svg></figure>"
    )


@cache
def room_imports() -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]:
    """Pairs of rooms of which the first imports the second: by a statement, and by name."""
    from tests.import_graph import BY_NAME, import_graph

    graph = import_graph()
    direct = {
        (_room(module), _room(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    by_name = {("commands", "stages"), *((_room(a), _room(b)) for a, b in BY_NAME.items())}
    unplaced = {name for pair in direct | by_name for name in pair} - {*PLACES, *HELPERS, ""}
    if unplaced:
        raise ValueError(f"docs/hooks.py: PLACES needs a place for {', '.join(sorted(unplaced))}")
    return _between_rooms(direct), _between_rooms(by_name)


def _between_rooms(pairs: set[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset((a, b) for a, b in pairs if a != b and a in PLACES and b in PLACES)


def _room(module: str) -> str:
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "structxlip" else top


def _needed(
    graph: frozenset[tuple[str, str]], shown: frozenset[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The arrows of ``shown`` without those that a path of other arrows implies."""
    below: dict[str, set[str]] = {name: set() for name in PLACES}
    for one, other in graph:
        below[one].add(other)

    @cache
    def reached(name: str) -> frozenset[str]:
        return frozenset().union(*({other} | reached(other) for other in below[name]))

    return sorted(
        (one, other)
        for one, other in shown
        if not any(other in reached(between) for between in below[one] - {other})
    )


def _arrow(one: str, other: str, *, dashed: bool) -> str:
    (x, y), (end_x, end_y) = _centre(PLACES[one]), _centre(PLACES[other])
    path, y = f"M{x:g} {y + BOX[1] / 2:g}", y + BOX[1] / 2
    if (one, other) in VIA:
        via_x, via_y = _centre(VIA[one, other])
        path += _curve(x, y, via_x, via_y - BOX[1] / 2) + f"V{via_y + BOX[1] / 2:g}"
        x, y = via_x, via_y + BOX[1] / 2
    path += _curve(x, y, end_x, end_y - BOX[1] / 2 - 2)
    kind = ' class="by-name"' if dashed else ""
    return f'<path d="{path}"{kind} marker-end="url(#tip)"/>'


def _curve(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (y1 + y2) / 2
    return f"C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"


def _box(name: str) -> str:
    x, y = _centre(PLACES[name])
    left, top = x - BOX[0] / 2, y - BOX[1] / 2
    box = (
        f"<g><title>{escape(_about(name))}</title>"
        f'<rect x="{left:g}" y="{top:g}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>'
        f'<text x="{x:g}" y="{y + 5:g}">{name}</text></g>'
    )
    has_page = (DOCS / "api" / f"{name}.md").is_file()
    return f'<a href="api/{name}.html">{box}</a>' if has_page else box


def _centre(place: tuple[float, float]) -> tuple[float, float]:
    x, y = place
    return MARGIN + BOX[0] / 2 + x * STEP[0], MARGIN + BOX[1] / 2 + y * STEP[1]


def _about(name: str) -> str:
    """The first paragraph of the docstring of a room."""
    home = ROOT / name if name in ("flows", "tasks") else ROOT / "structxlip" / name
    file = home / "__init__.py" if home.is_dir() else home.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or name
    return " ".join(docstring.partition("\n\n")[0].split())


MADE: dict[str, Callable[[], str]] = {
    "first_page": first_page,
    "parameters": parameters,
    "kinds": kinds,
    "shared_keys": shared_keys,
    "rooms": rooms,
}
