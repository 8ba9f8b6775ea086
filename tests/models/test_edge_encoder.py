"""The edge encoder equals its definition, and every patch is a place of its own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from structxlip.models.edge_encoder import EdgeEncoder


def random_maps(n: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    return (torch.rand(n, 1, side, side, generator=generator) < 0.1).float()


def naive(encoder: EdgeEncoder, maps: Tensor, strides: list[int]) -> tuple[Tensor, Tensor]:
    """Convolution, norm over groups of channels, GELU; means over the cells of a 4 × 4 grid."""
    weights = [(name, value) for name, value in encoder.named_parameters() if "convol" in name]
    for i, stride in enumerate(strides):
        (_, kernel), (_, scale), (_, shift) = weights[3 * i : 3 * i + 3]
        maps = conv2d(maps, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        groups = maps.reshape(len(maps), 8, -1)
        centred = groups - groups.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        normed = (centred / (variance + 1e-5).sqrt()).reshape(maps.shape)
        maps = normed * scale[:, None, None] + shift[:, None, None]
        maps = maps * (1 + torch.erf(maps / math.sqrt(2))) / 2
    cell = maps.shape[-1] // 4
    patches = torch.stack(
        [
            maps[:, :, y : y + cell, x : x + cell].mean(dim=(2, 3))
            for y in range(0, 4 * cell, cell)
            for x in range(0, 4 * cell, cell)
        ],
        dim=1,
    )
    embedding = patches.flatten(1) @ encoder.projection.weight.T + encoder.projection.bias
    return embedding, patches @ encoder.patch_projection.weight.T + encoder.patch_projection.bias


@pytest.mark.parametrize(("side", "first_stride"), [(32, 1), (64, 2), (96, 3), (128, 4), (256, 4)])
@torch.no_grad()
def test_the_edge_encoder_is_its_definition(side: int, first_stride: int) -> None:
    torch.manual_seed(0)
    encoder = EdgeEncoder(12)
    for parameter in encoder.parameters():  # norms start at 1 and 0, which hides mistakes
        torch.nn.init.normal_(parameter, std=0.2)
    maps = random_maps(2, side)
    found = encoder(maps)
    torch.testing.assert_close(found, naive(encoder, maps, [first_stride, 2, 2, 2]))


@pytest.mark.parametrize("side", [32, 48, 64, 96, 128, 160, 224, 320])
@torch.no_grad()
def test_every_patch_is_a_place_of_its_own(side: int) -> None:
    torch.manual_seed(0)
    embedding, (patches,) = EdgeEncoder(8)(random_maps(1, side))
    assert embedding.shape == (1, 8)
    distances = torch.cdist(patches, patches) + torch.eye(16)
    assert distances.min() > 0.01


def test_maps_without_a_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="of 31 px has no 4 × 4 patches; take at least 32 px"):
        EdgeEncoder(8)(torch.zeros(1, 1, 64, 31))
    with pytest.raises(ValueError, match="of 32 px has no 8 × 8 patches; take at least 64 px"):
        EdgeEncoder(8, grid=8)(torch.zeros(1, 1, 32, 32))


def test_layers_are_arguments() -> None:
    encoder = EdgeEncoder(8, grid=2, layers=[(8, 3, 2), (16, 5, 3)])
    assert encoder.least_px == 6
    embedding, patches = encoder(random_maps(3, 6))
    assert (embedding.shape, patches.shape) == ((3, 8), (3, 4, 8))
    shapes = [p.shape for name, p in encoder.named_parameters() if p.dim() == 4]
    assert shapes == [(8, 1, 3, 3), (16, 8, 5, 5)]


def test_the_edge_encoder_is_shallow_and_sees_where_edges_are() -> None:
    torch.manual_seed(0)
    encoder = EdgeEncoder(256).eval()
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 700_000
    edges = torch.zeros(2, 1, 128, 128)
    edges[0, :, 20:50, 20], edges[1, :, 80:110, 100] = 1, 1
    embedding, patches = encoder(edges)
    assert embedding.shape == (2, 256)
    assert patches.shape == (2, 16, 256)
    assert not torch.allclose(embedding[0], embedding[1], atol=1e-3)
    alone = encoder(edges[:1])[0]
    torch.testing.assert_close(alone, embedding[:1])  # no statistics of the batch
