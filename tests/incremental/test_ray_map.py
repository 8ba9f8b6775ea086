"""Work on Ray: in order, again when a worker dies, and on all machines of a cluster."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster

from structxlip.errors import UserError
from structxlip.incremental import ray_map
from structxlip.incremental.ray_map import MAX_ATTEMPTS, Worker, map_units
from tests.operation import eventually


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two Ray nodes with a processor each."""
    nodes = Cluster()
    nodes.add_node(num_cpus=1, include_dashboard=False)
    nodes.add_node(num_cpus=1)
    yield nodes.address
    nodes.shutdown()


@pytest.fixture
def on_ray(cluster: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is done in this process."""
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setattr(ray_map, "TRIAL_S", -1)
    monkeypatch.setattr(ray_map, "RAY_START_S", -1)
    monkeypatch.chdir(tmp_path)


def run(
    make_worker: Callable[[], Worker[int]],
    units: int = 8,
    name: Callable[[int], str] = lambda unit: f"piece {unit}",
) -> list[dict[str, object]]:
    tables = map_units(
        range(units), make_worker, description="work", samples=lambda _: 1, name=name
    )
    return [row for table in tables for row in table.to_pylist()]


def test_both_nodes_of_a_cluster_work_by_its_address_alone(on_ray: None) -> None:
    def make_worker() -> Worker[int]:
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else None
        if node:
            Path(f"{node}.node").touch()

        def work(unit: int) -> pa.Table:
            # Else a node that is up early has done all units before the other one has started.
            assert node is None or eventually(lambda: len(list(Path().glob("*.node"))) == 2)
            return pa.table({"unit": [unit], "node": [node], "folder": [os.getcwd()]})

        return work

    rows = run(make_worker)
    assert [row["unit"] for row in rows] == list(range(8))
    assert len({row["node"] for row in rows} - {None}) == 2
    assert {row["folder"] for row in rows} == {os.getcwd()}


def test_work_of_a_killed_worker_is_done_again(on_ray: None, tmp_path: Path) -> None:
    def make_worker() -> Worker[int]:
        def work(unit: int) -> pa.Table:
            if unit == 3 and not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return pa.table({"unit": [unit]})

        return work

    assert [row["unit"] for row in run(make_worker)] == list(range(8))
    assert (tmp_path / "killed").exists()


def test_work_that_kills_every_worker_is_given_up(on_ray: None, tmp_path: Path) -> None:
    def make_worker() -> Worker[int]:
        def work(unit: int) -> pa.Table:
            if unit == 3:
                with (tmp_path / "killed").open("a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            return pa.table({"unit": [unit]})

        return work

    with pytest.raises(UserError, match=f"{MAX_ATTEMPTS} workers died over piece 3,"):
        run(make_worker)
    assert len((tmp_path / "killed").read_text()) == MAX_ATTEMPTS


def test_units_of_one_name_are_counted_apart(on_ray: None) -> None:
    def make_worker() -> Worker[int]:
        return lambda unit: pa.table({"unit": [unit]})

    rows = run(make_worker, units=2 * MAX_ATTEMPTS, name=lambda _: "a piece")
    assert [row["unit"] for row in rows] == list(range(2 * MAX_ATTEMPTS))


def test_a_mistake_of_the_user_is_raised_as_itself(on_ray: None) -> None:
    def make_worker() -> Worker[int]:
        def work(unit: int) -> pa.Table:
            if unit == 3:
                raise UserError("the third is wrong")
            return pa.table({"unit": [unit]})

        return work

    before = set(threading.enumerate())
    with pytest.raises(UserError, match=r"^the third is wrong$"):
        run(make_worker)
    assert set(threading.enumerate()) == before  # one of Ray's would end the process later


def test_who_stops_early_leaves_nothing_of_ray_behind(on_ray: None) -> None:
    before = set(threading.enumerate())
    tables = map_units(
        range(50),
        lambda: lambda unit: pa.table({"unit": [unit]}),
        description="work",
        samples=lambda _: 1,
        name=str,
    )
    assert next(tables).to_pylist() == [{"unit": 0}]
    tables.close()
    assert set(threading.enumerate()) == before


def test_little_work_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # nothing answers there
    assert run(lambda: lambda unit: pa.table({"unit": [unit]})) == [{"unit": i} for i in range(8)]
    assert run(lambda: lambda _: 1 / 0, units=0) == []  # type: ignore[arg-type,return-value]
