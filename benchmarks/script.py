"""The command line and the tables of all benchmarks."""

from __future__ import annotations

import argparse
import sys
from typing import Any

FLAG = "--smoke"


def new_parser(page: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the page at the top of a script."""
    parser = argparse.ArgumentParser(
        description=page, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        FLAG, action="store_true", help="tiny sizes: shows in seconds that the script works"
    )
    return parser


def parse(parser: argparse.ArgumentParser, smoke: dict[str, Any]) -> argparse.Namespace:
    """Parse the command line. With `--smoke` the defaults of the options are those in ``smoke``."""
    if FLAG in sys.argv:
        parser.set_defaults(**smoke)
    return parser.parse_args()


def print_header(*columns: str) -> None:
    """Print the first two lines of a table."""
    print_row(*columns)
    print(f"|{'---|' * len(columns)}", flush=True)


def print_row(*cells: object) -> None:
    """Print one row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
