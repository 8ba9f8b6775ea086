"""Each loss against its naive form, its definition as loops over pairs of samples: time and memory.

    python benchmarks/losses.py

Times are of one forward and backward pass: the best of three for ours, of one for the naive form.
Peak memory is the growth of the resident set over the first pass, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, logsigmoid, normalize

from structxlip.losses import (
    ContrastiveLoss,
    CosineConsistencyLoss,
    ProjectedL2ConsistencyLoss,
    RegionChunkAttentionLoss,
    RegionChunkLoss,
    SigmoidContrastiveLoss,
)

DIM, CHUNKS, PARTS, SCALE = 256, 8, 16, 20.0
SIZES, LARGEST_NAIVE, LARGE = (64, 256, 1024), 256, 4096
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def contrastive(images: Tensor, texts: Tensor, *_: Tensor) -> Tensor:
    total = images.new_zeros(())
    for queries, keys in ((images, texts), (texts, images)):
        for i in range(len(queries)):
            logits = torch.stack([SCALE * cosine_similarity(queries[i], key, 0) for key in keys])
            total = total + logits.logsumexp(0) - logits[i]
    return total / (2 * len(images))


def sigmoid(images: Tensor, texts: Tensor, *_: Tensor) -> Tensor:
    total = images.new_zeros(())
    for i in range(len(images)):
        for j in range(len(texts)):
            logit = SCALE * cosine_similarity(images[i], texts[j], 0) - 10
            total = total - logsigmoid(logit if i == j else -logit)
    return total / len(images)


def region_chunk_attention(_: Tensor, __: Tensor, chunks: Tensor, parts: Tensor) -> Tensor:
    rows = []
    for caption in normalize(chunks, dim=-1):
        row = []
        for keys in normalize(parts, dim=-1):
            weights = (caption @ keys.T / 0.1).softmax(-1)
            row.append(cosine_similarity(caption, weights @ keys, -1).mean() / 0.07)
        rows.append(torch.stack(row))
    logits = torch.stack(rows)
    forth, back = logits.log_softmax(1), logits.log_softmax(0)
    return -(forth.diag().mean() + back.diag().mean()) / 2


def region_chunk(_: Tensor, __: Tensor, chunks: Tensor, parts: Tensor) -> Tensor:
    keys = normalize(parts, dim=-1)
    captions = []
    for i, caption in enumerate(normalize(chunks, dim=-1)):
        costs = []
        for chunk in caption:
            logits = torch.stack([SCALE * chunk @ regions.T for regions in keys])
            costs.append(logits.flatten().logsumexp(0) - logits[i].logsumexp(0))
        captions.append(torch.stack(costs).mean())
    return torch.stack(captions).mean()


def projected_l2(images: Tensor, edges: Tensor, *_: Tensor) -> Tensor:
    projection = torch.eye(DIM, requires_grad=True)
    distances = [
        (normalize(projection @ normalize(v, dim=0), dim=0) - normalize(e, dim=0)).square().sum()
        for v, e in zip(images, edges, strict=True)
    ]
    return torch.stack(distances).mean()


def cosine(images: Tensor, edges: Tensor, *_: Tensor) -> Tensor:
    pairs = zip(images, edges, strict=True)
    return torch.stack([1 - cosine_similarity(v, e, 0) for v, e in pairs]).mean()


def mask(features: Tensor) -> Tensor:
    return torch.ones(features.shape[:2], dtype=torch.bool)


# name: (ours, the naive form)
LOSSES: dict[str, tuple[Loss, Loss]] = {
    "ContrastiveLoss": (lambda a, b, c, p: ContrastiveLoss()(a, b, SCALE), contrastive),
    "SigmoidContrastiveLoss": (lambda a, b, c, p: SigmoidContrastiveLoss()(a, b, SCALE), sigmoid),
    "RegionChunkAttentionLoss": (
        lambda a, b, c, p: RegionChunkAttentionLoss()(c, mask(c), p),
        region_chunk_attention,
    ),
    "RegionChunkLoss": (
        lambda a, b, c, p: RegionChunkLoss()(c, mask(c), p, mask(p), SCALE),
        region_chunk,
    ),
    "ProjectedL2ConsistencyLoss": (
        lambda a, b, c, p: ProjectedL2ConsistencyLoss(DIM)(a, b),
        projected_l2,
    ),
    "CosineConsistencyLoss": (lambda a, b, c, p: CosineConsistencyLoss()(a, b), cosine),
}


def measure(name: str, n: int, form: int) -> dict[str, float]:
    """Seconds, MiB and the value of one loss of ``n`` pairs; ``form`` 0 is ours, 1 is naive."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((n, DIM), (n, DIM), (n, CHUNKS, DIM), (n, PARTS, DIM))
    inputs = [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]
    loss = LOSSES[name][form]
    loss(*[x[:8].detach() for x in inputs])  # warm up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, mib, value = [], 0.0, torch.zeros(())
    for run in range(1 if form or n == LARGE else 3):
        start = time.perf_counter()
        value = loss(*inputs)
        value.backward()
        seconds.append(time.perf_counter() - start)
        if run == 0:
            mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": min(seconds), "mib": mib, "value": float(value.detach())}


def in_process(name: str, n: int, form: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, str(n), str(form)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("LOSS", "N", "FORM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, n, form = options.one
        print(json.dumps(measure(name, int(n), int(form))))
        return
    print("| loss | N | ms | peak MiB | naive ms | naive MiB | times faster |")
    print("|---|---|---|---|---|---|---|")
    for name in LOSSES:
        for n in (*SIZES, LARGE):
            ours = in_process(name, n, 0)
            cells = [name, n, f"{1000 * ours['seconds']:.1f}", f"{ours['mib']:.0f}"]
            if n <= LARGEST_NAIVE:
                naive = in_process(name, n, 1)
                error = abs(naive["value"] - ours["value"]) / naive["value"]
                assert error < 1e-3, (name, n, naive, ours)  # the naive sum rounds
                cells += [f"{1000 * naive['seconds']:.0f}", f"{naive['mib']:.0f}"]
                cells += [f"{naive['seconds'] / ours['seconds']:.0f}"]
            else:
                cells += ["", "", ""]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
