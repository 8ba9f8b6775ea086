"""Write the tables of results.md anew from the report folders of a project.

    python docs/make_results.py .

In results.md a table stands between two comments: the first names the file that it is made from,
such as ``table: scenes/compare``, for ``reports/scenes/compare.md``, or ``table: scenes/metrics``,
for ``reports/scenes/comparison.json``. Tables whose file is not there stay as they are, and are
named.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from structxlip.progress import say
from structxlip.reports.comparison import comparison_table
from structxlip.reports.markdown import markdown_table
from structxlip.reports.provenance import provenance

RESULTS = Path(__file__).parent / "results.md"
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table_of(name: str, project: Path) -> str | None:
    """The table of a name such as ``scenes/compare``; None where its file is missing."""
    reports = project / "reports"
    dataset, _, table = name.partition("/")
    if table == "metrics":
        path = reports / dataset / "comparison.json"
        if not path.exists():
            return None
        header, *rows = comparison_table(json.loads(path.read_text(encoding="utf-8")))
        made = provenance(f"dvc repro evaluate@{dataset}", project)
        return markdown_table(header, rows) + f"\n\n{made.sentence}\n"
    path = reports / dataset / f"{table}.md"
    return path.read_text(encoding="utf-8") if path.exists() else None


def rebuild(text: str, project: Path) -> tuple[str, list[str]]:
    """results.md with its tables made anew, and the names of those whose files are missing."""
    missing: list[str] = []

    def replace(block: re.Match[str]) -> str:
        table = table_of(block[2], project)
        if table is None:
            missing.append(block[2])
            return block[0]
        return f"{block[1]}{table}{block[3]}"

    return BLOCK.sub(replace, text), missing


def main() -> None:
    project = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    text, missing = rebuild(RESULTS.read_text(encoding="utf-8"), project)
    RESULTS.write_text(text, encoding="utf-8")
    for name in missing:
        say(f"{name}: no file in {project / 'reports'}; its table stays as it is")


if __name__ == "__main__":
    main()
