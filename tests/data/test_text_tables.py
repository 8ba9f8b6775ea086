"""Tables as text are read exactly, or one sentence names the line and what to do."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.readers.text_tables import csv_records
from structxlip.errors import UserError

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
}  # fmt: skip
DELIMITERS = st.sampled_from(",;|\t")
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
CHARACTERS = st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from(',;|"\n\r {}')
CAPTIONS = st.lists(st.text(CHARACTERS, max_size=15), min_size=1, max_size=6)
WORDS = st.lists(st.text('ab c,"', max_size=9), min_size=2, max_size=8)
Rows = list[dict[str, str]]


def rows_of(path: Path, *columns: str) -> Rows:
    return [{**row.mapping} for row in csv_records(path, columns or ("image", "text"))]


def outcome(path: Path) -> Rows | str:
    """The rows, or the sentence that refuses the table."""
    try:
        return rows_of(path)
    except UserError as error:
        return str(error)


def table(captions: list[str], delimiter: str, line_end: str) -> str:
    out = io.StringIO()
    # Python quotes those characters of a line end alone that end its own lines.
    quoting = csv.QUOTE_MINIMAL if line_end == "\r\n" else csv.QUOTE_ALL
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([["image", "text"], *([f"{i}.jpg", text] for i, text in enumerate(captions))])
    return out.getvalue()


def expected(captions: list[str]) -> Rows:
    """Line ends within a cell become ``"\n"``, and white space around it does not count."""
    texts = [re.sub("\r\n?", "\n", text).strip() for text in captions]
    return [{"image": f"{i}.jpg", "text": text} for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@given(CAPTIONS, DELIMITERS, LINE_ENDS, st.sampled_from(ENCODINGS), st.sampled_from([*PACKERS]))
def test_what_a_program_wrote_is_read_back(
    folder: Path, captions: list[str], delimiter: str, line_end: str, encoding: str, packed: str
) -> None:
    path = folder / "t.csv"
    path.write_bytes(PACKERS[packed](table(captions, delimiter, line_end).encode(encoding)))
    assert rows_of(path) == expected(captions)


@given(CAPTIONS, DELIMITERS, st.sampled_from(ENCODINGS), st.sampled_from([*PACKERS]), st.data())
def test_a_file_that_ends_early_gives_its_first_rows_or_a_sentence(
    folder: Path,
    captions: list[str],
    delimiter: str,
    encoding: str,
    packed: str,
    data: st.DataObject,
) -> None:
    content = PACKERS[packed](table(captions, delimiter, "\n").encode(encoding))
    path = folder / "cut.csv"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    found = outcome(path)
    if isinstance(found, str):
        assert re.search(r"line \d+|needs|not UTF-8", found)
        return
    right = expected(captions)[: len(found)]
    assert found[:-1] == right[:-1]
    for cut, whole in zip(found[-1:], right[-1:], strict=True):
        assert cut["image"] == whole["image"]
        assert whole["text"].startswith(re.sub("[\udc80-\udcff]", "", cut["text"]))


@given(WORDS, DELIMITERS)
def test_no_row_is_swallowed_by_the_quotation_marks_of_another(
    folder: Path, texts: list[str], delimiter: str
) -> None:
    """In a table that quotes nothing, although its captions hold quotation marks."""
    lines = [f"{i}.jpg{delimiter}{text}" for i, text in enumerate(texts)]
    path = folder / "plain.csv"
    path.write_text("\n".join([f"image{delimiter}text", *lines]))
    found = outcome(path)
    if isinstance(found, str):
        assert re.search(r"plain\.csv, line \d+", found)
    else:
        assert [row["image"] for row in found] == [f"{i}.jpg" for i in range(len(texts))]
    if not any(delimiter in text for text in texts):
        rows = csv_records(path, ("image", "text"), quotes=False)
        exact = [row.get("text") for row in rows]
        assert exact == [text.strip() for text in texts]


REFUSED = {
    "quote that is never closed": ('image,text\na.jpg,A\nb.jpg,"B\nc.jpg,C\n', "line 3: a quot"),
    "quote closed by the next one": ('image,text\na.jpg,"A\nb.jpg,"B"\n', "line 2: a quotation"),
    "quote closed by the end of another row": (
        'image,text\na.jpg,"A\nb.jpg,one 6"\n', "line 2: .* another row: 'b.jpg,one 6\"'",
    ),
    "quote closed by the end of another row of the same image": (
        'image,text\na.jpg,"A\na.jpg,one 6"\n', "line 2: .* another row: 'a.jpg,one 6\"'",
    ),
    "more marks and commas": ('image,text\na.jpg,"\nb.jpg,,"""\n', "line 2: .* another row"),
    "captions before names": (
        'text,image\n"A dog,a.jpg\nA cat, red",b.jpg\n', "line 2: .* row: '\"A dog,a.jpg'",
    ),
    "numbers as names": ('image,text\n12,"A\n7,one 6"\n', "line 2: .* another row: '7,one"),
    "names without a look, in a table of tabs": (
        'image\ttext\na\t"A\nb\tone 6"\n', "line 2: .* another row",
    ),
    "text after a quoted cell": ('image,text\na.jpg,"A" dog\n', "line 2: a quotation mark opens"),
    "cell without end": ('image,text\na.jpg,"' + "A dog. " * 2_500_000, "line 2: a quot.* larger"),
    "comma in a caption": ("image,text\na.jpg,A, b\n", "line 2 has 3 cells and the first line 2"),
    "missing cell": ("image,text\n\na.jpg\n", r"line 3 has 1 cells .* comma or a line break in"),
    "no column of captions": ("image,words\na.jpg,A\n", "needs text, found: im"),
    "one column twice": ("image,text,text\na.jpg,A,B\n", "has more than one column text"),
    "no line": ("", "needs image, text, found: nothing"),
    "zero bytes": ("image,text\na.jpg,A\nb.jpg,\0\0\0\n", "line 3 holds zero bytes"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, kind: str) -> None:
    content, sentence = REFUSED[kind]
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=rf"t\.csv,? {sentence}"):
        rows_of(tmp_path / "t.csv")


BINARY = {
    "workbook": (b"PK\x03\x04...", "is a ZIP archive or a workbook"),
    "old workbook": (b"\xd0\xcf\x11\xe0\xa1", "is an old workbook; save the sheet as CSV"),
    "Parquet": (b"PAR1...", "is a Parquet file"),
    "packed file that ends early": (gzip.compress(b"image,text\n")[:-9], "after line"),
    "packed file of noise": (b"\x1f\x8b" + bytes(range(60)), "cannot be read after line 0"),
    "UTF-16 that ends early": ("image,text\na.jpg,A".encode("utf-16")[:-1], "after line"),
    "headings in Latin-1": ("image,text,größe\n".encode("latin-1"), "columns are not UTF-8"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0", "not UTF-8|zero bytes"),
}


@pytest.mark.parametrize("kind", BINARY)
def test_what_is_no_text_is_named(tmp_path: Path, kind: str) -> None:
    content, sentence = BINARY[kind]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        rows_of(tmp_path / "t.csv")


READ = {
    "one row, as programs for sheets write it": "image,text\na.jpg,A dog\n",
    "line that names the delimiter": "sep=;\nimage;text\na.jpg;A dog\n",
    "white space around cells": "image | text \n a.jpg | A dog \n",
    "column of row numbers": ",image,text\n0,a.jpg,A dog\n",
    "delimiter at each end": "image,text,\na.jpg,A dog,\n",
    "delimiter at the end of rows": "image,text\na.jpg,A dog,\n",
    "lines of nothing": "\n\nimage,text\n\na.jpg,A dog\n   \n\n",
    "other columns with the delimiter of another": "image;text;size,weight\na.jpg;A dog;1,5\n",
    "two line ends in a row": "image,text\r\r\na.jpg,A dog\r\r\n",
}


@pytest.mark.parametrize("kind", READ)
def test_what_can_be_read_is(tmp_path: Path, kind: str) -> None:
    (tmp_path / "t.csv").write_bytes(READ[kind].encode())
    found = [(row["image"], row["text"]) for row in rows_of(tmp_path / "t.csv")]
    assert found == [("a.jpg", "A dog")]


def test_a_row_of_empty_cells_is_a_record_and_not_lost(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,text\na.jpg,A dog\n,\n,,,\n")
    assert [row["image"] for row in rows_of(tmp_path / "t.csv")] == ["a.jpg", "", ""]


def test_bytes_that_are_not_utf8_stay_in_their_cell(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("image,text\na.jpg,café\nb.jpg,A dog\n".encode("latin-1"))
    assert [row["text"] for row in rows_of(tmp_path / "t.csv")] == ["caf\udce9", "A dog"]


@given(CAPTIONS, DELIMITERS, st.permutations(["image", "text", "split"]))
def test_captions_of_several_lines_stand_in_any_column(
    folder: Path, captions: list[str], delimiter: str, columns: list[str]
) -> None:
    rows = [
        {"image": f"{i}.jpg", "text": f"{text}\nIt runs, fast; see a b.jpg|\n", "split": "train"}
        for i, text in enumerate(captions)
    ]
    path = folder / "lines.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    right = expected([row["text"] for row in rows])
    assert rows_of(path) == [one | {"split": "train"} for one in right]


def test_a_long_caption_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,text\na.jpg," + "A dog. " * 30_000)
    assert len(rows_of(tmp_path / "t.csv")[0]["text"]) == 30_000 * 7 - 1


def test_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read after line 0 \(.*directory"):
        rows_of(tmp_path)
