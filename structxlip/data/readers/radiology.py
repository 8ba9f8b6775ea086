"""The sections of a radiology report, found as the official parser of MIMIC-CXR finds them.

The parser is ``txt/section_parser.py`` of https://github.com/MIT-LCP/mimic-cxr. Headings that it
knows, and how it groups them, are taken from there. Beyond it, words in capitals before a colon
that are no known heading stay a part of their section, and headings may be in small letters.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import lru_cache

FINDINGS, IMPRESSION, BOTH = "findings", "impression", "findings and impression"
LAST_PARAGRAPH = "last paragraph"
_OTHER, _VIEWS = "other", "views"

_HEADINGS = {
    **dict.fromkeys((FINDINGS, "finding", "reference findings", "chest, two views"), FINDINGS),
    **dict.fromkeys((IMPRESSION, "impressions", "conclusion", "conclusions"), IMPRESSION),
    **dict.fromkeys((BOTH, "impression and findings"), BOTH),
    **dict.fromkeys(
        (
            "addendum", "clinical history", "clinical indication", "clinical information",
            "comment", "comparison", "comparisons", "comparison exam", "comparison film", "date",
            "exam", "examination", "history", "indication", "indications", "notification",
            "patient history", "pfi", "procedure", "reason for exam", "reason for examination",
            "recommendation", "recommendations", "recommendation(s)", "reference exam", "study",
            "technique", "type of examination", "wet read", "wetread",
        ),
        _OTHER,
    ),
}  # fmt: skip
# Longer headings in capitals, by the first pattern that they match.
_PATTERNS = {
    r"finding.*impression|impression.*finding": BOTH,
    r"impression|conclusion": IMPRESSION,
    r"findings": FINDINGS,
    r"history|comparison|addendum|indication|reason for|technique|notif|recommend|wet read": _OTHER,
    # The whole study, such as "PORTABLE CHEST, TWO VIEWS".
    r"chest|portable|ribs|bone window|(two|one|frontal|pa|ap|lateral) views?"
    r"|(pa|ap) and lat|lateral and (pa|ap)|frontal (and|(semi-)?upright)": _VIEWS,
}
_LIKENESS = 0.85  # of a misspelt heading, such as "IMPRSSION"
# A colon before a digit is that of a time: "PORTABLE CHEST, 3:20 A.M.".
_HEADING = re.compile(r"^[ \t]*([A-Za-z][\w ,/()&'#.-]{1,70}?)[ \t]*(:(?!\d)|$)", re.MULTILINE)
_TITLE = re.compile(r"^[ \t]*(?:(?:FINAL|INTERIM|PRELIMINARY) REPORT|_+)[ \t]*$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


def report_text(report: str, names: Sequence[str]) -> str:
    """The named sections of a report, `findings` and `impression`, as one line.

    The last paragraph stands for both where the report has neither.
    """
    sections = sections_of(report)
    chosen = [
        text
        for name in names
        for section, text in sections.items()
        if name in section or section == LAST_PARAGRAPH
    ]
    return " ".join(dict.fromkeys(chosen))


def sections_of(report: str) -> dict[str, str]:
    """The sections of a report that describe the images, each as one line.

    The keys are `findings`, `impression` and `findings and impression`. Sections of one name are
    joined, and those without a letter or digit do not count. A report that has none of them has its
    `last paragraph`: what follows the first paragraph of a section, the last one that has several,
    or the whole of a report without headings and paragraphs.
    """
    sections = _split(_TITLE.sub("", "\n".join(report.splitlines())))
    found: dict[str, list[str]] = {}
    for name, text in sections:
        if name != _OTHER and _has_words(text):
            found.setdefault(name, []).append(" ".join(text.split()))
    if not found:
        paragraphs = [_BLANK_LINE.split(text.rstrip()) for _, text in reversed(sections)]
        last = next((several[1:] for several in paragraphs if len(several) > 1), [])
        if len(sections) == 1:
            last = last or paragraphs[0]
        found = {LAST_PARAGRAPH: [" ".join(text.split()) for text in last if _has_words(text)]}
    return {name: " ".join(texts) for name, texts in found.items() if texts}


def _split(report: str) -> list[tuple[str, str]]:
    """The sections in order, with their names. The first is what precedes all headings."""
    sections, name, start = [], _OTHER, 0
    for heading in _HEADING.finditer(report):
        text = report[start : heading.start()]
        if heading[1].islower() and text.rstrip()[-1:] not in ".:!?_":
            continue  # a sentence that goes on
        opened = _section(heading[1], colon=bool(heading[2]))
        if opened == _VIEWS:  # within findings: a part of them, such as "RIBS"
            opened = None if name in (FINDINGS, BOTH) and _has_words(text) else FINDINGS
        if opened:
            sections.append((name, text))
            name, start = opened, heading.end()
    return [*sections, (name, report[start:])]


def _section(heading: str, *, colon: bool) -> str | None:
    """The section that the beginning of a line opens; None for words of the text."""
    name = re.sub(r"\s*[/&]\s*", " and ", " ".join(heading.lower().split()))
    if name in _HEADINGS:
        return _HEADINGS[name] if colon or heading.isupper() else None
    return _long_section(name) if colon and heading.isupper() else None


@lru_cache(maxsize=10_000)
def _long_section(name: str) -> str | None:
    for pattern, section in _PATTERNS.items():
        if re.search(pattern, name):
            return section
    likely = difflib.get_close_matches(name, _HEADINGS, n=1, cutoff=_LIKENESS)
    return _HEADINGS[likely[0]] if likely else None


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)
