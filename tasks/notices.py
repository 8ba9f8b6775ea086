"""Tell people how a run ended, through the notification blocks of Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import prefect.blocks.notifications  # noqa: F401 -- makes their types known
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from tasks.reporting import if_the_server_answers

NAME = "structxlip"  # of the blocks that are told
NOT_TOLD = "Nothing new"  # name of the state of a run that had nothing to do


def tell(dataset: str, state: State[Any]) -> None:
    """Tell every notification block of the name `structxlip` how the run of a dataset ended.

    A block that cannot be reached is a warning in the log, and never fails a run.
    """
    if state.name == NOT_TOLD:
        return
    subject = f"StructXLIP {dataset}: {'failed' if state.is_failed() else 'done'}"
    lines = [
        state.message or "the run has made everything that was out of date",
        f"run: {url_for('flow-run', obj_id=flow_run.get_id())}",
        f"report: reports/{dataset}/report.html",
    ]
    receivers: list[Any] = []
    with if_the_server_answers("the question whom to tell"):
        receivers += _receivers()
    for block in receivers:
        try:
            with block.raise_on_failure():
                block.notify("\n".join(lines), subject)
        except Exception as error:  # of any service, in whatever form its client reports it
            why = (str(error).splitlines() or [type(error).__name__])[0]
            get_run_logger().warning("%s could not be told: %s", type(block).__name__, why)


def _receivers() -> Iterator[Any]:
    """The notification blocks of the name `structxlip`, one of each type at most."""
    with get_client(sync_client=True) as client:
        documents = client.read_block_documents(include_secrets=True)
    for document in documents:
        if document.name != NAME or document.block_schema is None:
            continue
        block_class = Block.get_block_class_from_schema(document.block_schema)
        if issubclass(block_class, NotificationBlock):
            yield block_class._from_block_document(document)
