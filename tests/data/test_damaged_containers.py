"""Damaged tar and Parquet files, links, and pointers of Git LFS."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structxlip.data.quarantine import BadCaption, BadImage
from structxlip.data.readers.files import reader
from structxlip.errors import UserError
from tests.trees import opened, tar, write

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
SAMPLES = {
    f"{i}.{suffix}": f"{i} {suffix}".encode() * 300 for i in range(4) for suffix in ("jpg", "txt")
}

MEMBER = 512 + 1536  # bytes of a header and of the blocks of 1,500 bytes


def outcomes(root: Path) -> dict[str, str]:
    """For each pair `good`, or the reason for which its image cannot be read."""
    found = {}
    for pair in opened("webdataset", root).pairs:
        assert pair.id not in found
        try:
            pair.read_image()
            found[pair.id] = "good"
        except BadImage as bad:
            found[pair.id] = bad.reason
    return found


def test_a_tar_file_that_is_cut_within_a_member(tmp_path: Path) -> None:
    content = tar(SAMPLES)
    place = content.index(b"2 jpg") + 100
    write(tmp_path, {"s.tar": content[:place]})
    assert outcomes(tmp_path) == {
        "s/0": "good", "s/1": "good", "s/2": "truncated_image",
        f"s.tar, byte {5 * MEMBER}": "damaged_shard",
    }  # fmt: skip


def test_a_tar_file_that_is_cut_between_members_lacks_its_end(tmp_path: Path) -> None:
    write(tmp_path, {"s.tar": tar(SAMPLES)[: 4 * MEMBER]})
    assert outcomes(tmp_path) == {
        "s/0": "good", "s/1": "good", f"s.tar, byte {4 * MEMBER}": "damaged_shard"
    }  # fmt: skip


def test_a_damaged_header_loses_its_member_alone(tmp_path: Path) -> None:
    content = bytearray(tar(SAMPLES))
    content[2 * MEMBER + 150] ^= 0xFF  # in the checksum of the header of 1.jpg
    write(tmp_path, {"s.tar": bytes(content)})
    assert outcomes(tmp_path) == {
        "s/0": "good", "s/1": "missing_image", "s/2": "good", "s/3": "good",
        f"s.tar, byte {2 * MEMBER}": "damaged_shard",
    }  # fmt: skip


def test_tar_files_one_after_the_other_are_read_whole(tmp_path: Path) -> None:
    later = {"5.jpg": b"five", "5.txt": b"A five"}
    write(tmp_path, {"s.tar": tar(SAMPLES) + tar(later)})
    assert list(outcomes(tmp_path).values()) == ["good"] * 5


def test_a_member_that_comes_twice_replaces_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"s.tar": tar({"1.jpg": b"one", "1.txt": b"A one"}) + tar({"1.jpg": b"two"})})
    pairs = list(opened("webdataset", tmp_path).pairs)
    assert [(pair.id, pair.read_image()) for pair in pairs] == [("s/1", b"one"), ("s/1", b"two")]


def test_files_that_belong_to_no_sample_are_passed_over(tmp_path: Path) -> None:
    files = {"README": b"x", "._1.jpg": b"x", "__meta__.json": b"x", "1.jpg": b"one"}
    write(tmp_path, {"s.tar": tar(files)})
    assert outcomes(tmp_path) == {"s/1": "good"}


def test_shards_of_one_name_in_several_folders(tmp_path: Path) -> None:
    for folder in ("train/a", "train/b", "val", "test"):
        write(tmp_path, {f"{folder}/00000.tar": tar({"0.jpg": folder.encode()})})
    pairs = list(opened("webdataset", tmp_path).pairs)
    assert {pair.id: pair.read_image().decode() for pair in pairs} == {
        f"{folder}/00000/0": folder for folder in ("train/a", "train/b", "val", "test")
    }
    before = {pair.id for pair in pairs}
    write(tmp_path, {"train/c/00000.tar": tar({"0.jpg": b"c"})})
    after = {pair.id for pair in opened("webdataset", tmp_path).pairs}
    assert after - before == {"train/c/00000/0"}


@pytest.mark.parametrize("content", [b"{", b"[1]", b'"a"', b"", b"\xff", b"[" * 100_000])
def test_json_that_is_none_is_the_caption_of_its_sample(tmp_path: Path, content: bytes) -> None:
    files = {"0.jpg": b"0", "0.json": b'{"text": "A"}', "1.jpg": b"1", "1.json": content}
    write(tmp_path, {"s.tar": tar(files)})
    first, second = opened("webdataset", tmp_path, caption="json.text").pairs
    assert first.captions == ["A"]
    (bad,) = second.captions
    assert isinstance(bad, BadCaption)
    assert bad.reason == "bad_record"
    assert "1.json" in bad.detail


def test_a_parquet_file_that_is_cut(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"a"], "text": ["A"]}), tmp_path / "train.parquet")
    content = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(content[:-30])
    with pytest.raises(UserError, match=r"train\.parquet cannot be read \(.*\); get or write"):
        opened("hf_dataset", tmp_path)


def test_a_page_of_parquet_whose_checksum_is_wrong(tmp_path: Path) -> None:
    table = pa.table({"image": [b"a" * 4000], "text": ["A"]})
    path = tmp_path / "train.parquet"
    how = {"write_page_checksum": True, "write_statistics": False, "use_dictionary": False}
    pq.write_table(table, path, compression="none", **how)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"a" * 100, b"b" * 100, 1))
    with pytest.raises(UserError, match="cannot be read"):
        list(opened("hf_dataset", tmp_path).pairs)


def test_an_arrow_file_whose_offsets_lead_out(tmp_path: Path) -> None:
    write(tmp_path, {"state.json": {"_data_files": [{"filename": "0.arrow"}]}})
    table = pa.table({"image": [b"a"] * 20, "text": ["A"] * 20})
    with pa.ipc.new_stream(tmp_path / "0.arrow", table.schema) as out:
        out.write_table(table)
    content = (tmp_path / "0.arrow").read_bytes()
    offsets = pa.array(range(21), pa.int32()).buffers()[1].to_pybytes()[:84]
    assert offsets in content
    damaged = offsets[:40] + b"\xff\xff\xff\x6f" + offsets[44:]
    (tmp_path / "0.arrow").write_bytes(content.replace(offsets, damaged))
    with pytest.raises(UserError, match=r"0\.arrow cannot be read"):
        list(opened("hf_dataset", tmp_path).pairs)


def outcome(folder: Path, name: object, roots: tuple[str, ...] = ()) -> str:
    try:
        return reader(folder, name, roots=roots, place="image in t, line 1")().decode()
    except BadImage as bad:
        return str(bad)


def test_links_of_the_hub_are_followed(tmp_path: Path) -> None:
    """`snapshot_download` gives a folder of links to `blobs`."""
    cache = tmp_path / "datasets--a--b"
    snapshot = cache / "snapshots/1a2b"
    (snapshot / "train").mkdir(parents=True)
    (snapshot / "metadata.csv").symlink_to("../../blobs/m")
    (snapshot / "train/x.jpg").symlink_to("../../../blobs/h")
    write(cache, {"blobs/m": "file_name,text\ntrain/x.jpg,A dog\n", "blobs/h": b"dog"})
    (tmp_path / "set").symlink_to(snapshot)
    for folder in (snapshot, tmp_path / "set"):
        (pair,) = opened("imagefolder", folder).pairs
        assert (pair.read_image(), pair.split) == (b"dog", "train")


def test_links_lead_into_the_roots_that_the_entry_names(tmp_path: Path) -> None:
    write(tmp_path, {"set/t.csv": "image,text\nx.jpg,A dog\n", "store/files/ab": b"dog"})
    (tmp_path / "set/i").mkdir()
    (tmp_path / "set/i/x.jpg").symlink_to(tmp_path / "store/files/ab")
    settings = {"table": "t.csv", "images": "i", "captions": ["text"]}
    (pair,) = opened("table", tmp_path / "set", **settings).pairs
    with pytest.raises(BadImage, match=r"outside_folder: x\.jpg is a link to .*under `roots`"):
        pair.read_image()
    for root in (str(tmp_path / "store"), "../store"):
        (pair,) = opened("table", tmp_path / "set", **settings, roots=[root]).pairs
        assert pair.read_image() == b"dog"


def test_links_within_the_dataset_are_followed(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": "image,text\nx.jpg,A dog\n", "originals/x.jpg": b"dog"})
    (tmp_path / "i").mkdir()
    (tmp_path / "i/x.jpg").symlink_to("../originals/x.jpg")
    (pair,) = opened("table", tmp_path, table="t.csv", images="i", captions=["text"]).pairs
    assert pair.read_image() == b"dog"


def test_names_that_lead_out_are_refused_whatever_the_roots(tmp_path: Path) -> None:
    write(tmp_path, {"set/x.jpg": b"x", "up.jpg": b"up"})
    roots = (str(tmp_path),)
    for name in ("../up.jpg", str(tmp_path / "up.jpg"), "a/../../up.jpg"):
        assert outcome(tmp_path / "set", name, roots) == (
            f"outside_folder: {name} leads out of {tmp_path / 'set'} (image in t, line 1)"
        )
    assert outcome(tmp_path / "set", "a/../x.jpg") == "x"


@pytest.mark.parametrize("name", [None, "", 5, ["x.jpg"], {}, float("nan"), "a\0b", "\ud800"])
def test_a_value_that_names_no_file(tmp_path: Path, name: object) -> None:
    assert outcome(tmp_path, name).startswith("missing_image: ")


def test_links_to_what_is_not_there_are_said(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to(".git/annex/objects/x")
    with pytest.raises(FileNotFoundError, match=r"x\.jpg is a link to \.git/annex/objects/x that"):
        reader(tmp_path, "x.jpg")()


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"x.jpg": POINTER, "dataset_coco.json": POINTER, "t.tar": POINTER})
    write(tmp_path, {"t.parquet": POINTER, "t.csv": POINTER})
    assert outcome(tmp_path, "x.jpg").startswith("lfs_pointer: x.jpg is a pointer of Git LFS")
    settings = {"captions": ["text"]}
    for kind, keys in [
        ("karpathy", {}),
        ("webdataset", {}),
        ("hf_dataset", {}),
        ("table", {"table": "t.csv", **settings}),
        ("table", {"table": "t.parquet", **settings}),
    ]:
        with pytest.raises(
            UserError, match="is a pointer of Git LFS, not the file; run `git lfs pull`"
        ):
            opened(kind, tmp_path, **keys)
