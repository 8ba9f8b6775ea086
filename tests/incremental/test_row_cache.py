"""Rows of earlier runs are found by what they were cache from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structxlip.incremental.row_cache import KEY, KEY_BYTES, RowCache, row_key, signature

SOURCES = st.lists(st.one_of(st.none(), st.binary(max_size=2)), max_size=30)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shard(path: Path, sources: list[bytes | None], group: int = 4) -> Path:
    keys = [None if source is None else row_key(source) for source in sources]
    columns = {KEY: pa.array(keys, pa.binary(KEY_BYTES)), "source": pa.array(sources, pa.binary())}
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(runs=st.lists(SOURCES, max_size=3), wanted=st.lists(st.binary(max_size=2), max_size=30))
def test_rows_are_those_of_the_definition(
    folder: Path, runs: list[list[bytes | None]], wanted: list[bytes]
) -> None:
    for old in (folder / ".cache").rglob("*.parquet"):
        old.unlink()
    writer = RowCache("edges", "toy", "same")
    for i, sources in enumerate(runs):
        writer.keep(shard(folder / f"part-{i}.parquet", sources))
    cache = RowCache("edges", "toy", "same")
    places = cache.find(b"".join(map(row_key, wanted)))
    known = {source for run in runs for source in run if source is not None}
    assert [place >= 0 for place in places] == [source in known for source in wanted]
    if (places >= 0).any():
        found = cache.rows(places[places >= 0])["source"].to_pylist()
        assert found == [source for source in wanted if source in known]


def test_a_file_that_cannot_be_read_is_passed_over_and_goes(folder: Path) -> None:
    cache = RowCache("edges", "toy", "same")
    whole = shard(folder / "part.parquet", [b"x"])
    cache.keep(whole)
    (broken := folder / "broken.parquet").write_bytes(whole.read_bytes()[:-20])
    cache.keep(broken)
    again = RowCache("edges", "toy", "same")
    assert again.find(row_key(b"x")) >= 0
    again.keep(whole)
    again.remove_older()
    assert len(list(folder.rglob(".cache/**/*.parquet"))) == 1


def test_shards_are_copied_where_there_are_no_links(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    cache = RowCache("edges", "toy", "same")
    cache.keep(shard(folder / "part.parquet", [b"x", b"y"]))
    places = RowCache("edges", "toy", "same").find(row_key(b"y") + row_key(b"z"))
    assert [place >= 0 for place in places] == [True, False]
    assert not list(folder.rglob(".cache/**/*.tmp"))


def test_a_signature_has_its_own_rows_and_only_the_last_run_stays(folder: Path) -> None:
    def found(name: str | None) -> bool:
        return bool(RowCache("edges", "toy", name).find(row_key(b"x"))[0] >= 0)

    path = shard(folder / "part.parquet", [b"x"])
    RowCache("edges", "toy", "a").keep(path)
    assert found("a")
    assert not found("b")
    other = RowCache("edges", "toy", "b")
    other.keep(path)
    other.remove_older()
    assert found("b")
    assert not found("a")
    assert len(list(folder.rglob(".cache/**/*.parquet"))) == 1


def test_without_a_signature_nothing_is_kept(folder: Path) -> None:
    cache = RowCache("edges", "toy", None)
    cache.keep(shard(folder / "part.parquet", [b"x"]))
    cache.remove_older()
    assert not (folder / ".cache").exists()
    np.testing.assert_array_equal(cache.find(row_key(b"x")), [-1])


def test_a_signature_changes_with_each_of_its_parts(folder: Path) -> None:
    code = folder / "code"
    code.mkdir()
    weights = folder / "weights"

    def now(text: str = "a") -> str:
        return signature(text, code, weights)

    (code / "a.py").write_text("1")
    weights.write_bytes(b"1")
    before = now()
    assert now() == before
    assert now("b") != before
    (code / "notes.txt").write_text("not code")
    assert now() == before
    weights.write_bytes(b"2")
    assert (after := now()) != before
    (code / "a.py").write_text("2")
    assert now() not in (before, after)
