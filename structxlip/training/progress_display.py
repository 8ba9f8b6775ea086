"""The progress of a training on the screen: position, speed and losses."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from structxlip.evaluation.statistics import mean_recall
from structxlip.progress import Advance, progress, say
from structxlip.training.loop import StepResult


class ProgressDisplay:
    """Shows the progress of a training while it is open, and one line for each epoch.

    Args:
        name: of the training.
        epochs: of a whole run.
    """

    def __init__(self, name: str, epochs: int) -> None:
        self.name, self.epochs = name, epochs
        self.stack, self.step = ExitStack(), 0
        self.advance: Advance | None = None

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stack.close()

    def __call__(self, result: StepResult) -> None:
        if self.advance is None:  # the first report; the run may go on from any step
            self.advance = self.stack.enter_context(
                progress(self.name, result.total_steps, "steps", result.step)
            )
            self.step = result.step
        self.advance(result.step - self.step, _note(result.metrics))
        self.step = result.step
        if result.epoch:
            self._show_epoch(result.epoch)

    def _show_epoch(self, row: dict[str, float]) -> None:
        losses = ", ".join(f"{k} {v:.3f}" for k, v in row.items() if k.endswith("loss"))
        say(
            f"{self.name}: {row['epoch']:.0f}/{self.epochs} epochs, {losses}, "
            f"val R@1 {mean_recall(row, prefix='val/'):.1f} %"
        )


def _note(metrics: dict[str, float]) -> str:
    weights = {k: v for k, v in metrics.items() if k.startswith("weight/")}
    shown = " ".join(f"{k.removeprefix('weight/')} {v:.3g}" for k, v in weights.items())
    return (
        f"loss {metrics['loss']:.3f}, learning rate {metrics['learning_rate']:.2g}"
        + (f", weights {shown}" if shown else "")
        + f", {metrics['samples_per_s']:,.0f} samples/s, {metrics['memory_mib']:,.0f} MiB"
    )
