"""The reader of cells equals its definition, and reads cells alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d, conv2d, gelu, group_norm

from structxlip.cues import check_reads
from structxlip.models.cells_encoder import CellsEncoder


@pytest.mark.parametrize(
    ("side", "strides"), [(4, (1, 1, 1)), (8, (1, 2, 1)), (16, (1, 2, 2)), (32, (1, 2, 2))]
)
@torch.no_grad()
def test_the_encoder_is_its_definition(side: int, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = CellsEncoder(12, channels=8).eval()
    for parameter in encoder.parameters():  # norms start at 1 and 0, which hides mistakes
        parameter.uniform_(-0.3, 0.3)
    maps = cells = torch.rand(3, 8, side, side)
    weights = list(encoder.convolutions.parameters())
    for i, stride in enumerate(strides):
        kernel, scale, shift = weights[3 * i : 3 * i + 3]
        maps = gelu(group_norm(conv2d(maps, kernel, stride=stride, padding=1), 8, scale, shift))
    patches = adaptive_avg_pool2d(maps, 4).flatten(2).transpose(1, 2)
    embedding, projected = encoder(cells)
    torch.testing.assert_close(embedding, encoder.projection(patches.flatten(1)))
    torch.testing.assert_close(projected, encoder.patch_projection(patches))
    assert projected.shape == (3, 16, 12)


def test_it_is_small_and_drops_in_training() -> None:
    encoder = CellsEncoder(256, channels=8)
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 750_000
    cells = torch.rand(2, 8, 16, 16)
    torch.manual_seed(0)
    first, second = encoder(cells)[0], encoder(cells)[0]
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (2, 8, 3, 3)])
def test_other_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs cells \[N, 8, S, S\] with S >= 4"):
        CellsEncoder(8, channels=8)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("branch", "channels", "message"),
    [
        ("descriptor", 1, "descriptor reads cells, and the cue gives maps of pixels"),
        ("cnn", 8, "cnn reads maps of pixels, and the cue gives cells of 8 orientations"),
        ("image_tower", 8, "set edge_branch to descriptor"),
    ],
)
def test_a_branch_reads_its_own_kind_of_maps(branch: str, channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_reads(branch, channels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("branch", "channels"), [("descriptor", 8), ("cnn", 1), ("image_tower", 1), ("none", 8)]
)
def test_what_fits_is_taken(branch: str, channels: int) -> None:
    check_reads(branch, channels)  # type: ignore[arg-type]
