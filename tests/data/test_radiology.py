"""The text of a radiology report is found under every heading that MIMIC-CXR has."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.readers.radiology import report_text, sections_of

BOTH = ("findings", "impression")
CLEAR, NONE = "The lungs are clear.", "No acute process."
BEFORE = " FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  Cough.\n \n"
BLANK = "\n \n"

HEADINGS = {
    "findings": ("FINDINGS", "FINDING", "Findings", "REFERENCE FINDINGS", "PORTABLE CHEST",
                 "CHEST, TWO VIEWS", "PA AND LATERAL VIEWS OF THE CHEST", "CHEST, PA/LAT",
                 "CHEST RADIOGRAPH, ___", "AP VIEW", "CHEST (2 VIEWS)", "FRONTAL AND LATERAL VIEWS",
                 "LEFT RIBS"),
    "impression": ("IMPRESSION", "Impression", "CONCLUSION", "CONCLUSIONS", "IMPRSSION",
                   "FINAL IMPRESSION"),
    "findings and impression": ("FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION",
                                "FINDINGS/ IMPRESSION", "FINDINGS / IMPRESSION",
                                "FINDINGS & IMPRESSION", "IMPRESSION/FINDINGS",
                                "Findings and impression"),
}  # fmt: skip


@pytest.mark.parametrize("heading", [name for names in HEADINGS.values() for name in names])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_headings(heading: str, line_end: str) -> None:
    (name,) = [name for name, headings in HEADINGS.items() if heading in headings]
    report = f"{BEFORE} {heading}:  {CLEAR}\n".replace("\n", line_end)
    assert sections_of(report) == {name: CLEAR}
    for section in BOTH:
        assert report_text(report, [section]) == (CLEAR if section in name else "")


REPORTS = {
    "both": (f" FINDINGS:\n \n {CLEAR}\n \n IMPRESSION:\n {NONE}\n", f"{CLEAR} {NONE}"),
    "impression first": (f" IMPRESSION: {NONE}\n FINDINGS: {CLEAR}\n", f"{CLEAR} {NONE}"),
    "empty repeat": (f" FINDINGS: {CLEAR}\n FINDINGS:\n \n IMPRESSION: {NONE}", f"{CLEAR} {NONE}"),
    "empty first": (f" IMPRESSION:\n \n IMPRESSION: {NONE}", NONE),
    "title that looks like findings": (f" CHEST, PA AND LATERAL:\n \n FINDINGS: {CLEAR}", CLEAR),
    "time in a title": (f" PORTABLE CHEST, ___, 3:20 A.M.\n \n IMPRESSION: {NONE}", NONE),
    "removed by de-identification": (f" FINDINGS:  ___\n \n IMPRESSION:  {NONE}", NONE),
    "two sections": (f" FINDINGS: {CLEAR}\n \n CHEST, TWO VIEWS: Calm.", f"{CLEAR} Calm."),
    "capitals within findings": (
        f" FINDINGS: {CLEAR}\n LINES AND TUBES: One.\n HEART: Normal.\n \n RIBS: Whole.\n"
        f" CHEST TUBE: Removed.\n IMPRESSION: {NONE}",
        f"{CLEAR} LINES AND TUBES: One. HEART: Normal. RIBS: Whole. CHEST TUBE: Removed. {NONE}",
    ),
    "capitals alone": (" FINDINGS:\n LUNGS: Clear.\n \n HEART: ___\n", "LUNGS: Clear. HEART: ___"),
    "last paragraph": (f" {CLEAR}\n {NONE}\n", f"{CLEAR} {NONE}"),
    "last paragraphs": (f" {CLEAR}\n \n {NONE}\n", f"{CLEAR} {NONE}"),
    "capitals at last": (" LUNGS: Clear.\n HEART: Calm.\n", "LUNGS: Clear. HEART: Calm."),
    "end": (f" FINDINGS: {CLEAR}\n RECOMMENDATION(S): None.\n NOTIFICATION: Dr. ___.\n", CLEAR),
    "addendum": (f" IMPRESSION: {NONE}\n \n ADDENDUM:  The date was wrong.\n", NONE),
    "no space after the colon": (f" FINDINGS:{CLEAR}\n", CLEAR),
    "lines of headings": (f" FINDINGS\n {CLEAR}\n IMPRESSION :\n {NONE}\n", f"{CLEAR} {NONE}"),
    "small letters": (f" findings: {CLEAR}\n impression: {NONE}\n", f"{CLEAR} {NONE}"),
    "sentence that goes on": (" FINDINGS: No new\n impression: calm.", "No new impression: calm."),
    "nothing": ("", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", REPORTS)
def test_reports(kind: str) -> None:
    report, expected = REPORTS[kind]
    assert report_text(BEFORE + report, BOTH) == expected


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (CLEAR, CLEAR),
        (f" FINAL REPORT\n {CLEAR}\n", CLEAR),
        (f" CHEST RADIOGRAPH ___\n \n {CLEAR}\n \n {NONE}\n", f"{CLEAR} {NONE}"),
        (f" INDICATION: Cough.\n \n {CLEAR}\n \n NOTIFICATION: By phone.\n", CLEAR),
        (f" INDICATION: Cough.\n COMPARISON:\n \n {CLEAR}\n", CLEAR),
        (" INDICATION: Cough.\n COMPARISON: None.\n", ""),
        (" ______\n FINAL REPORT\n", ""),
    ],
)
def test_reports_without_findings_and_impression(report: str, expected: str) -> None:
    assert report_text(report, BOTH) == report_text(report, ["findings"]) == expected


def test_sections_that_are_not_wanted_stay_out() -> None:
    report = f"{BEFORE} FINDINGS: {CLEAR}\n \n IMPRESSION: {NONE}"
    assert [report_text(report, [name]) for name in BOTH] == [CLEAR, NONE]
    assert report_text(report, ["impression", "findings"]) == f"{NONE} {CLEAR}"


@given(st.sampled_from(["FINDINGS", "IMPRESSION", "CONCLUSION"]), st.data())
def test_a_misspelt_heading_is_found(heading: str, data: st.DataObject) -> None:
    """As ``IMPRSSION`` in the real reports: one letter is left out, or two have changed places."""
    place = data.draw(st.integers(1, len(heading) - 2))
    without = heading[:place] + heading[place + 1 :]
    changed = heading[:place] + heading[place + 1] + heading[place] + heading[place + 2 :]
    for misspelt in (without, changed):
        assert report_text(f"{BEFORE} {misspelt}: {CLEAR}\n", BOTH) == CLEAR


SENTENCE = st.text("ab ,.", min_size=1, max_size=30).map(lambda text: f"x{' '.join(text.split())}")


@given(st.lists(st.tuples(st.sampled_from(["FINDINGS", "IMPRESSION", "HISTORY"]), SENTENCE)))
def test_every_sentence_of_a_wanted_section_is_kept(sections: list[tuple[str, str]]) -> None:
    report = BEFORE + "".join(f" {name}:  {text}\n \n" for name, text in sections)
    joined = [
        " ".join(text for name, text in sections if name == wanted)
        for wanted in ("FINDINGS", "IMPRESSION")
    ]
    expected = " ".join(dict.fromkeys(filter(None, joined)))
    if expected or not sections:
        assert report_text(report, BOTH) == expected


@given(st.text("FINDGSMPREO:_ \r\n/ab,()", max_size=80))
def test_any_text_is_a_report(report: str) -> None:
    """And nothing of it is found twice."""
    found = "".join(sections_of(report).values())
    assert Counter("".join(found.split())) <= Counter(report)
