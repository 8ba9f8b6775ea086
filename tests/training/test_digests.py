"""Digests: those of the bytes, read once."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from structxlip.training import digests
from structxlip.training.digests import file_digest


def written(path: Path, content: bytes, age_s: float = 60.0) -> bytes:
    """Write a file of some age; returns the digest of its bytes."""
    path.write_bytes(content)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return hashlib.blake2b(content).digest()


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(digests, "LARGE_BYTES", 4)
    return tmp_path / "large"


def test_a_large_file_is_read_once(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = written(large, b"content")
    assert file_digest(large) == expected
    monkeypatch.setattr(digests.hashlib, "file_digest", None)  # it may not be read again
    assert file_digest(large) == expected


def test_another_content_of_the_same_length_is_another_digest(large: Path) -> None:
    for content, age_s in ((b"content", 90), (b"CONTENT", 60)):
        expected = written(large, content, age_s)
        assert file_digest(large) == expected
        assert digests.DIGESTS.exists()


def test_a_file_that_has_just_changed_is_read_again(large: Path) -> None:
    """A second change may leave the time stamp as it was."""
    expected = written(large, b"content", 0)
    assert file_digest(large) == expected
    assert not digests.DIGESTS.exists()


def test_a_small_file_keeps_nothing(large: Path) -> None:
    expected = written(large, b"abc")
    assert file_digest(large) == expected
    assert not digests.DIGESTS.exists()
