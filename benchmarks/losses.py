"""Time and memory of each loss, beside its naive form.

    python benchmarks/losses.py

The naive form is the definition of the loss, written as loops over pairs of samples (over samples
for the consistency losses). It is measured up to 256 samples. Both forms must give the same value.
Every row is measured in a fresh process, on random features of 256 dimensions, with 8 chunks a
caption and 16 patches or regions an image.

Columns:
    loss          the class in structxlip.losses
    N             samples in the batch
    ms            one forward and backward pass: the best of three (of one from N = 4096 on)
    peak MiB      growth of the resident memory over the first pass
    naive ms      one forward and backward pass of the naive form
    naive MiB     its growth of the resident memory
    times faster  naive ms divided by ms
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, logsigmoid, normalize

from script import new_parser, parse, print_header, print_row
from structxlip.losses import (
    ContrastiveLoss,
    CosineConsistencyLoss,
    ProjectedL2ConsistencyLoss,
    RegionChunkAttentionLoss,
    RegionChunkLoss,
    SigmoidContrastiveLoss,
)

DIM, CHUNKS, PARTS, SCALE = 256, 8, 16, 20.0
LARGE = 4096  # batches of this size and above run once
RUNS = 3
SMOKE = {"sizes": [4, 8], "largest_naive": 4}
# Takes images, texts, chunks and parts: features [N, D], [N, D], [N, C, D] and [N, P, D].
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Forms(NamedTuple):
    """A loss of this project, and its naive form."""

    ours: Loss
    naive: Loss


class Measured(NamedTuple):
    """The best time, the memory of the first pass, and the value of a loss."""

    seconds: float
    mib: float
    value: float


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
    to_images, to_captions = logits.log_softmax(1), logits.log_softmax(0)
    return -(to_images.diag().mean() + to_captions.diag().mean()) / 2


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


def everything(features: Tensor) -> Tensor:
    """A mask that leaves nothing out."""
    return torch.ones(features.shape[:2], dtype=torch.bool)


LOSSES = {
    "ContrastiveLoss": Forms(lambda a, b, c, p: ContrastiveLoss()(a, b, SCALE), contrastive),
    "SigmoidContrastiveLoss": Forms(
        lambda a, b, c, p: SigmoidContrastiveLoss()(a, b, SCALE), sigmoid
    ),
    "RegionChunkAttentionLoss": Forms(
        lambda a, b, c, p: RegionChunkAttentionLoss()(c, everything(c), p),
        region_chunk_attention,
    ),
    "RegionChunkLoss": Forms(
        lambda a, b, c, p: RegionChunkLoss()(c, everything(c), p, everything(p), SCALE),
        region_chunk,
    ),
    "ProjectedL2ConsistencyLoss": Forms(
        lambda a, b, c, p: ProjectedL2ConsistencyLoss(DIM)(a, b), projected_l2
    ),
    "CosineConsistencyLoss": Forms(lambda a, b, c, p: CosineConsistencyLoss()(a, b), cosine),
}


def measure(name: str, n: int, form: Literal["ours", "naive"]) -> Measured:
    """Measure one form of a loss on ``n`` samples, in this process."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((n, DIM), (n, DIM), (n, CHUNKS, DIM), (n, PARTS, DIM))
    images, texts, chunks, parts = (
        torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes
    )
    loss: Loss = getattr(LOSSES[name], form)
    loss(
        images[:8].detach(), texts[:8].detach(), chunks[:8].detach(), parts[:8].detach()
    )  # warm up
    before_mib = peak_mib()
    seconds, mib, value = [], 0.0, torch.zeros(())
    for run in range(1 if form == "naive" or n >= LARGE else RUNS):
        started = time.perf_counter()
        value = loss(images, texts, chunks, parts)
        value.backward()
        seconds.append(time.perf_counter() - started)
        if run == 0:
            mib = peak_mib() - before_mib
    return Measured(min(seconds), mib, float(value.detach()))


def peak_mib() -> float:
    """The highest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_apart(name: str, n: int, form: Literal["ours", "naive"]) -> Measured:
    """Measure one form of a loss in a process of its own."""

    def work() -> None:
        sender.send(measure(name, n, form))

    # A fork, since this process has imported torch already and computes nothing.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work)
    process.start()
    sender.close()
    measured: Measured = receiver.recv()
    process.join()
    return measured


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024, LARGE])
    parser.add_argument("--largest-naive", type=int, default=256)
    options = parse(parser, SMOKE)
    # Gradient checkpointing imports this module; here it is imported once for all forks.
    import torch._dynamo  # noqa: F401

    print_header("loss", "N", "ms", "peak MiB", "naive ms", "naive MiB", "times faster")
    for name in LOSSES:
        for n in options.sizes:
            ours = measure_apart(name, n, "ours")
            cells = [name, n, f"{1000 * ours.seconds:.1f}", f"{ours.mib:.0f}"]
            if n > options.largest_naive:
                print_row(*cells, "", "", "")
                continue
            naive = measure_apart(name, n, "naive")
            error = abs(naive.value - ours.value) / naive.value
            assert error < 1e-3, (name, n, naive, ours)  # the naive sum rounds
            times = naive.seconds / ours.seconds
            print_row(*cells, f"{1000 * naive.seconds:.0f}", f"{naive.mib:.0f}", f"{times:.0f}")


if __name__ == "__main__":
    main()
