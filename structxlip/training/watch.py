"""What the driver shows of a run: where it is, how fast, and what the losses are."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from structxlip.evaluation.curves import mean_recall
from structxlip.progress import Advance, progress, say
from structxlip.training.loop import Done


class Watch:
    """Shows progress while it is open, and a line for each epoch."""

    def __init__(self, name: str, epochs: int) -> None:
        self.name, self.epochs = name, epochs
        self.stack, self.step = ExitStack(), 0
        self.advance: Advance | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stack.close()

    def __call__(self, done: Done) -> None:
        if self.advance is None:  # the first word of a run that may have gone on from anywhere
            self.advance = self.stack.enter_context(
                progress(self.name, done.total, "steps", done.step)
            )
            self.step = done.step
        self.advance(done.step - self.step, _note(done.seen))
        self.step = done.step
        if done.epoch:
            self._epoch(done.epoch)

    def _epoch(self, row: dict[str, float]) -> None:
        losses = ", ".join(f"{k} {v:.3f}" for k, v in row.items() if k.endswith("loss"))
        say(
            f"{self.name}: {row['epoch']:.0f}/{self.epochs} epochs, {losses}, "
            f"val R@1 {mean_recall(row):.1f} %"
        )


def _note(seen: dict[str, float]) -> str:
    weights = " ".join(f"{k.removeprefix('lambda/')} {v:.3g}" for k, v in _weights(seen).items())
    return (
        f"loss {seen['loss']:.3f}, learning rate {seen['learning_rate']:.2g}"
        + (f", weights {weights}" if weights else "")
        + f", {seen['samples_per_s']:,.0f} samples/s, {seen['memory_mib']:,.0f} MiB"
    )


def _weights(seen: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in seen.items() if name.startswith("lambda/")}
