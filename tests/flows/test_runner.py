"""The runner, with stages called in this process: a lease and a fingerprint per node."""

import errno
import io
import threading
import time
from collections import Counter
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.display import Display
from flows.graph import Node
from flows.outcome import Outcome
from flows.plan import plan
from flows.runner import Runner
from flows.spent import Spent
from tempering.artifacts import resolve
from tempering.artifacts import store as stores
from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, ModelArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.artifacts.store import Store
from tempering.config import Config
from tempering.errors import UserError
from tempering.runtime import RuntimeConfig
from tests.flows.inside import Here


class FileConfig(Config):
    file: Path

    def external_files(self) -> tuple[Path, ...]:
        return (self.file,)


class NoConfig(Config):
    pass


@stage("runner_text", version=1, makes=DatasetArtifact)
def text(out: Draft, config: FileConfig) -> Summary:
    """What the file holds."""
    (out.rows_dir / "train").write_text(config.file.read_text())
    return {}


@stage("runner_fit", version=1, makes=ModelArtifact)
def fit(out: Draft, config: NoConfig, *, data: DatasetArtifact) -> Summary:
    """Weights."""
    (out.model_dir / "weights").write_text(data.rows_path().read_text())
    return {}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("one")
    return path


@pytest.fixture
def nodes(corpus: Path) -> list[Node]:
    return [Node("text", text, FileConfig(file=corpus)), Node("fit", fit, NoConfig(), {"data": "text"})]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def planned(store: Store, nodes: list[Node]) -> Runner:
    """A runner of what is planned now."""
    fingerprints = {row.stage: row.fingerprint for row in plan(nodes, store)}
    display = Display(io.StringIO())
    display.add(node.name for node in nodes)
    return Runner(store, RuntimeConfig(), display, Here(), nodes=nodes, fingerprints=fingerprints)


def run(runner: Runner) -> list[Outcome]:
    return [runner.run_node(node) for node in runner.nodes]


def test_each_node_is_fingerprinted_and_leased_once(
    store: Store, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def count(place: Any, name: str) -> None:
        function = getattr(place, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(place, name, counted)

    count(resolve, "fingerprint")
    count(resolve, "code_files")
    count(stores, "acquire")
    assert [outcome.action for outcome in run(planned(store, nodes))] == ["run", "run"]
    assert calls == {"fingerprint": 2, "code_files": 2, "acquire": 2}


def test_a_file_that_changed_since_the_plan_is_another_artifact(
    store: Store, nodes: list[Node], corpus: Path
) -> None:
    runner = planned(store, nodes)
    corpus.write_text("two!")
    rows, model = (outcome.artifact for outcome in run(runner))
    assert isinstance(rows, DatasetArtifact)
    assert isinstance(model, ModelArtifact)
    assert (model.model_dir / "weights").read_text() == "two!"
    now = plan(nodes, store)
    assert [(row.action, row.artifact) for row in now] == [("cached", rows.id), ("cached", model.id)]
    assert now[0].fingerprint != runner.fingerprints["text"]
    corpus.write_text("one")
    assert [row.action for row in plan(nodes, store)] == ["run", "run"]


def test_what_another_run_made_since_the_plan_is_reused(store: Store, nodes: list[Node]) -> None:
    first, second = planned(store, nodes), planned(store, nodes)
    assert [outcome.action for outcome in run(first)] == ["run", "run"]
    assert [outcome.action for outcome in run(second)] == ["cached", "cached"]


def test_the_code_in_the_manifest_is_that_with_which_the_stage_began(
    store: Store, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter(["before", "after"])
    monkeypatch.setattr(resolve, "code_files", lambda module: {module: next(digests)})
    artifact = planned(store, nodes).run_node(nodes[0]).artifact
    assert artifact is not None
    assert artifact.manifest.code.files == {text.module: "before"}


def test_a_stage_that_waits_for_its_twin_names_it(store: Store, nodes: list[Node]) -> None:
    """Two stages of one run that make the same artifact: the second one waits, for no other process."""
    twin = Node("twin", fit, NoConfig(), {"data": "text"})
    runner = planned(store, [*nodes, twin])
    runner.run_node(nodes[0])
    lease = store.lease(fit.name, runner.fingerprints["fit"].hex)
    thread = threading.Thread(target=runner.run_node, args=(twin,))
    thread.start()
    stream = runner.display.stream
    assert isinstance(stream, io.StringIO)
    while "waiting" not in stream.getvalue():
        time.sleep(0.01)
    lease.release()
    thread.join()
    assert "twin: waiting for fit of this run, whose artifact is the same\n" in stream.getvalue()
    assert runner.outcomes["twin"].ok


def test_a_parent_that_prefect_did_not_start_is_named(store: Store, nodes: list[Node]) -> None:
    outcome = planned(store, nodes).run_node(nodes[1])
    assert (outcome.action, outcome.reason) == ("skipped", "text failed: Prefect did not start it")


def test_a_place_without_rights_is_found_before_the_work(
    store: Store, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "text").mkdir()

    def probe(folder: Path) -> None:
        if folder.name == "text":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(stores, "probe", probe)
    monkeypatch.setattr(Here, "run", lambda *_, **options: pytest.fail("the stage ran"))
    outcome = planned(store, nodes).run_node(nodes[0])
    assert f"permission denied ({store.root / 'text'})" in str(outcome.error)
    assert isinstance(outcome.error, UserError)


def test_the_time_of_a_resumed_stage_is_that_of_all_its_runs(
    store: Store, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are of the whole training: time, speed and price must be too, through a kill of all."""
    clock, note = SimpleNamespace(now=0.0), Spent.note

    def work(self: Here, function: Any, *arguments: Any, kill: str, listener: Any, **options: Any) -> Any:
        draft = arguments[2]
        (draft.checkpoints_dir / "checkpoint_200_tokens").mkdir(exist_ok=True)
        clock.now += 300
        listener.message(("progress", 1, 2, "tokens", {}))
        clock.now += 1
        if kill:
            raise RuntimeError(kill)
        return {}, draft.outcome() | {"resumed_from_tokens": 200, "tokens": 400}

    def fit(kill: str) -> Outcome:
        with monkeypatch.context() as patch:
            if kill == "all processes":  # which can note nothing any more
                patch.setattr(Spent, "note", lambda self, partial, now=False: note(self, partial))
            patch.setattr(Here, "run", partialmethod(work, kill=kill))
            return run(planned(store, nodes))[1]

    assert run(planned(store, nodes[:1]))[0].ok
    monkeypatch.setattr("flows.spent.time", SimpleNamespace(monotonic=lambda: clock.now))
    assert [fit("all processes").action, fit("the stage").action] == ["failed", "failed"]
    outcome = fit("")
    assert outcome.artifact is not None
    assert (outcome.action, outcome.seconds) == ("resume", 301.0), "people are told of this run"
    assert outcome.artifact.manifest.seconds == 300 + 301 + 301
    assert not (outcome.artifact.path / "inputs.json").exists()


def test_a_stage_that_began_anew_was_not_resumed(
    store: Store, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its checkpoints were damaged. Mutation: the plan's guess is recorded, not what happened."""

    def killed(self: Here, function: Any, *arguments: Any, **options: Any) -> Any:
        (arguments[2].checkpoints_dir / "checkpoint_100_tokens").mkdir()
        raise RuntimeError("killed")

    first = planned(store, nodes[:1])
    assert [outcome.action for outcome in run(first)] == ["run"]
    with monkeypatch.context() as patch:
        patch.setattr(Here, "run", killed)
        assert [outcome.action for outcome in run(planned(store, nodes))] == ["cached", "failed"]
    again = planned(store, nodes)
    assert plan(nodes, store)[1].action == "resume"
    assert [outcome.action for outcome in run(again)] == ["cached", "run"]
