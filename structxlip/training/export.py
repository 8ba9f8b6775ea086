"""The model that a finished training exports."""

from __future__ import annotations

from structxlip.errors import UserError
from structxlip.models.structxlip import StructXLIP
from structxlip.progress import say
from structxlip.training.assembly import model_with_loss, open_view, untrained_model
from structxlip.training.checkpoints import BEST
from structxlip.training.loop import TrainingState
from structxlip.training.run import TrainingRun


def load_trained(run: TrainingRun) -> tuple[StructXLIP, list[dict[str, float]]]:
    """The model of the last or the best epoch, as ``train.exported`` says, and the history of the
    run, one row for each epoch.

    Raises ``UserError`` when the run has no whole checkpoint.
    """
    checkpoints, settings = run.checkpoints(), run.train
    saved = checkpoints.newest()
    if saved is None:
        raise UserError(f"{checkpoints.folder} holds no whole checkpoint; train again")
    state = TrainingState(**saved["state"])
    if settings.exported == "best":
        assert state.best is not None
        best = checkpoints.at(BEST, int(state.best["step"]))
        if best is None:
            say(f"the best checkpoint in {checkpoints.folder} is damaged; the last one is exported")
        saved = best or saved
    store = run.store()
    view = open_view(run, store)
    model = untrained_model(run, store, view)
    model_with_loss(run, model).load_state_dict(saved["task"])
    model.prepare_export(lambda: untrained_model(run, store, view), settings.tuned_share)
    return model.eval(), state.history
