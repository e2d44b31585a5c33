"""IDX files: right ones are read exactly, wrong ones are refused in one line that names file, fault and way out."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mirada.data.files import DataError
from mirada.data.idx import read_idx


def idx(*shape: int, values: bytes | None = None) -> bytes:
    body = bytes(range(256)) if values is None else values
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


def refusal(path: Path, dimensions: int) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, dimensions)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(
        lambda shape: st.tuples(st.just(shape), st.binary(min_size=256, max_size=256))
    ),
    st.booleans(),
)
def test_reads_what_was_written(tmp_path_factory, case, zipped):
    shape, values = case
    tensor = torch.tensor(list(values[: torch.Size(shape).numel()]), dtype=torch.uint8).view(*shape)
    content = idx(*shape, values=tensor.numpy().tobytes())
    path = written(tmp_path_factory.mktemp("idx"), gzip.compress(content) if zipped else content)
    read = read_idx(path, dimensions=len(shape))
    assert read.dtype == torch.uint8
    assert torch.equal(read, tensor)


def test_missing_file(tmp_path):
    assert "No such file" in refusal(tmp_path / "file", 1)


def test_a_folder_is_no_file(tmp_path):
    assert "a folder" in refusal(tmp_path, 1)


def test_wrong_magic_number(tmp_path):
    message = refusal(written(tmp_path, b"\x89PNG" + bytes(20)), 3)
    assert "89 50 4e 47" in message
    assert "00 00 08 03" in message


def test_labels_in_the_place_of_images(tmp_path):
    assert "00 00 08 01" in refusal(written(tmp_path, idx(256)), 3)


def test_empty_file(tmp_path):
    assert "(none)" in refusal(written(tmp_path, b""), 1)


def test_header_cut_off(tmp_path):
    assert "16 bytes" in refusal(written(tmp_path, idx(1, 16, 16)[:10]), 3)


@pytest.mark.parametrize("length", [100, 256, 257, 1000])
def test_size_that_the_header_does_not_announce(tmp_path, length):
    path = written(tmp_path, idx(4, 8, 8, values=bytes(length)))
    if length == 256:
        assert read_idx(path, 3).shape == (4, 8, 8)
    else:
        message = refusal(path, 3)
        assert "4 × 8 × 8 = 256" in message
        assert f"holds {length}" in message


def test_a_monstrous_header_costs_no_memory(tmp_path):
    assert "4294967295" in refusal(written(tmp_path, idx(2**32 - 1, 2**32 - 1, 2**32 - 1)), 3)


def test_no_items(tmp_path):
    assert "at least one" in refusal(written(tmp_path, idx(0, values=b"")), 1)


@pytest.mark.parametrize("keep", [5, 12, 60, -3])
def test_truncated_gzip(tmp_path, keep):
    assert "broken gzip" in refusal(written(tmp_path, gzip.compress(idx(256))[:keep]), 1)


def test_damaged_gzip(tmp_path):
    content = bytearray(gzip.compress(idx(256)))
    content[-6] ^= 0xFF  # within the checksum
    assert "broken gzip" in refusal(written(tmp_path, bytes(content)), 1)
