"""Print what a search found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from structxlip.serving.image_index import Hit


def print_hits(hits: Sequence[Hit], *, as_json: bool) -> None:
    """Print the answers of a search, as a table or as JSON."""
    if as_json:
        answers = [{"rank": rank, **asdict(hit)} for rank, hit in enumerate(hits, 1)]
        sys.stdout.write(json.dumps(answers, indent=2, ensure_ascii=False) + "\n")
        return
    table = Table(box=None, expand=True)
    for name in ("rank", "score", "id", "split"):
        table.add_column(name, no_wrap=True, overflow="fold")
    table.add_column("caption", no_wrap=True, overflow="ellipsis", ratio=1)
    for rank, hit in enumerate(hits, 1):
        caption = hit.captions[0] if hit.captions else ""
        table.add_row(*map(Text, (str(rank), f"{hit.score:.3f}", hit.id, hit.split, caption)))
    Console().print(table)
