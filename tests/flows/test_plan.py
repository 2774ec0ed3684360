"""The plan: every kind of reason with its field and values, and the options that change it."""

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from flows.graph import Node, Ref
from flows.plan import PlanRow, plan
from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, EvaluationArtifact, ModelArtifact
from tempering.artifacts.resolve import build, resolve
from tempering.artifacts.stage import Stage, Summary, stage
from tempering.artifacts.store import Store
from tempering.config import Config, runtime_field
from tempering.errors import ConfigError, UserError


class Inner(Config):
    rate: float = 0.1


class TextConfig(Config):
    text: str = "a"
    file: Path | None = None
    workers: int = runtime_field(1)

    def external_files(self) -> tuple[Path, ...]:
        return (self.file,) if self.file else ()


class TuneConfig(Config):
    learning_rate: float = 1e-3
    inner: Inner = Inner()
    betas: list[float] = Field(default_factory=lambda: [0.9, 0.99])


@stage("plan_text", version=1, makes=DatasetArtifact)
def text_stage(out: Draft, config: TextConfig) -> Summary:
    """Text."""
    (out.rows_dir / "train").write_text(config.text)
    return {}


@stage("plan_tune", version=1, makes=ModelArtifact, trains=True)
def tune_stage(out: Draft, config: TuneConfig, *, data: DatasetArtifact) -> Summary:
    """Weights."""
    (out.model_dir / "model.safetensors").write_text(str(config) + data.rows_path().read_text())
    return {}


@stage("plan_score", version=1, makes=EvaluationArtifact)
def score_stage(
    out: Draft, config: TextConfig, *, model: ModelArtifact, data: DatasetArtifact | None = None
) -> Summary:
    """A number."""
    (out.metadata_dir / "metrics.parquet").write_text((model.model_dir / "model.safetensors").read_text())
    return {"score": 1.0}


def pipeline(
    tune: Stage = tune_stage, tune_config: Config | None = None, text: Config | None = None
) -> list[Node]:
    return [
        Node("text", text_stage, text or TextConfig()),
        Node("tune", tune, tune_config or TuneConfig(), {"data": "text"}),
        Node("score[a]", score_stage, TextConfig(), {"model": "tune"}),
        Node("score[b]", score_stage, TextConfig(text="b"), {"model": "tune", "data": "text"}),
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def run(nodes: Iterable[Node], store: Store, name: str = "p", until: str = "") -> dict[str, str]:
    """Run a pipeline in this process, as the runner does."""
    record = store.runs.start(name)
    made: dict[str, Any] = {}
    for node in nodes:
        inputs = {role: made[source] for role, source in node.sources().items()}
        made[node.name] = build(store, node.stage, node.config, inputs, node=node.name)
        record.stage(node.name, "run", artifact=made[node.name].id)
        if node.name == until:
            return {key: artifact.id for key, artifact in made.items()}
    record.finish("completed")
    return {key: artifact.id for key, artifact in made.items()}


def actions(rows: Iterable[PlanRow]) -> dict[str, str]:
    return {row.stage: row.action for row in rows}


def reasons(rows: Iterable[PlanRow]) -> dict[str, list[tuple[str, str, Any, Any]]]:
    return {
        row.stage: [(why["kind"], why["field"], why["old"], why["new"]) for why in row.why]
        for row in rows
        if row.why
    }


ALL = ("text", "tune", "score[a]", "score[b]")
CACHED = dict.fromkeys(ALL, "cached")


class TestReasons:
    def test_everything_is_new(self, store: Store) -> None:
        rows = plan(pipeline(), store)
        assert actions(rows) == dict.fromkeys(ALL, "run")
        assert reasons(rows) == {name: [("new", name, None, None)] for name in ALL}

    def test_everything_is_cached(self, store: Store) -> None:
        ids = run(pipeline(), store)
        rows = plan(pipeline(), store, pipeline="p")
        assert actions(rows) == CACHED
        assert reasons(rows) == {}
        assert {row.stage: row.artifact for row in rows} == ids

    def test_config(self, store: Store) -> None:
        ids = run(pipeline(), store)
        changed = TuneConfig(learning_rate=2e-3, inner=Inner(rate=0.2), betas=[0.9, 0.95])
        rows = plan(pipeline(tune_config=changed), store, pipeline="p")
        assert actions(rows) == {"text": "cached", "tune": "run", "score[a]": "run", "score[b]": "run"}
        assert reasons(rows) == {
            "tune": [
                ("config", "learning_rate", 1e-3, 2e-3),
                ("config", "inner.rate", 0.1, 0.2),
                ("config", "betas.1", 0.99, 0.95),
            ],
            "score[a]": [("input", "model", ids["tune"], "will run")],
            "score[b]": [("input", "model", ids["tune"], "will run")],
        }

    def test_a_list_of_another_length_is_one_change(self, store: Store) -> None:
        run(pipeline(), store)
        rows = plan(pipeline(tune_config=TuneConfig(betas=[0.9])), store)
        assert reasons(rows)["tune"] == [("config", "betas", [0.9, 0.99], [0.9])]

    def test_a_runtime_field_changes_nothing(self, store: Store) -> None:
        run(pipeline(), store)
        assert actions(plan(pipeline(text=TextConfig(workers=9)), store)) == CACHED

    def test_an_external_file(self, store: Store, tmp_path: Path) -> None:
        file = tmp_path / "corpus.txt"
        file.write_text("one")
        nodes = pipeline(text=TextConfig(file=file))
        run(nodes, store)
        file.write_text("two!")
        (found,) = reasons(plan(nodes, store))["text"]
        assert found[:2] == ("config", "files.corpus.txt")
        assert found[2] != found[3]
        assert len(found[2]) == len(found[3]) == 12

    def test_version(self, store: Store) -> None:
        ids = run(pipeline(), store)
        rows = plan(pipeline(tune=replace(tune_stage, version=2)), store)
        assert reasons(rows)["tune"] == [("version", "version", 1, 2)]
        assert reasons(rows)["score[a]"] == [("input", "model", ids["tune"], "will run")]

    def test_damaged(self, store: Store) -> None:
        ids = run(pipeline(), store)
        (store.root / ids["tune"] / "model/model.safetensors").unlink()
        rows = plan(pipeline(), store)
        assert actions(rows) == {**CACHED, "tune": "run"}
        assert reasons(rows) == {
            "tune": [("damaged", "model/model.safetensors", ids["tune"], "it is missing")]
        }

    def test_an_artifact_that_was_removed_is_new_again(self, store: Store) -> None:
        ids = run(pipeline(), store)
        (store.root / ids["text"]).rename(store.root / "gone")
        rows = plan(pipeline(), store)
        assert actions(rows) == {**CACHED, "text": "run"}
        assert reasons(rows) == {"text": [("new", "text", ids["text"], None)]}

    def test_an_input_made_again_with_another_payload(self, store: Store) -> None:
        old = run(pipeline(), store)
        text = build(store, text_stage, TextConfig(), node="text", force=True)
        self._set_payload(store, text.path)
        rows = plan(pipeline(), store)
        assert reasons(rows) == {
            "tune": [("input", "data", old["text"], text.id)],
            "score[b]": [("input", "data", old["text"], text.id)],
        }

    def _set_payload(self, store: Store, folder: Path) -> None:
        """As if a stage that is not deterministic had written other rows."""
        from tempering.artifacts.manifest import read_manifest

        manifest = read_manifest(folder)
        (folder / "manifest.json").write_bytes(
            manifest.model_copy(update={"payload_digest": "0" * 64}).to_json()
        )

    def test_forced(self, store: Store) -> None:
        run(pipeline(), store)
        rows = plan(pipeline(), store, force={"tune"})
        assert actions(rows) == {**CACHED, "tune": "run"}
        assert reasons(rows) == {"tune": [("forced", "--force", None, None)]}

    def test_forced_and_changed(self, store: Store) -> None:
        run(pipeline(), store)
        rows = plan(pipeline(tune_config=TuneConfig(learning_rate=1.0)), store, force=["tune"])
        assert reasons(rows)["tune"] == [
            ("forced", "--force", None, None),
            ("config", "learning_rate", 1e-3, 1.0),
        ]

    def test_the_last_run_of_the_same_pipeline_is_compared(self, store: Store) -> None:
        run(pipeline(), store, "p")
        run(pipeline(tune_config=TuneConfig(learning_rate=5.0)), store, "q")
        rows = plan(pipeline(tune_config=TuneConfig(learning_rate=9.0)), store, pipeline="p")
        assert reasons(rows)["tune"] == [("config", "learning_rate", 1e-3, 9.0)]

    def test_a_stage_the_last_run_did_not_reach_is_compared_with_an_earlier_one(self, store: Store) -> None:
        run(pipeline(), store)
        run(pipeline(text=TextConfig(text="new")), store, until="text")  # killed after its first stage
        rows = plan(pipeline(tune_config=TuneConfig(learning_rate=9.0)), store, pipeline="p")
        assert rows[0].action == "cached"
        assert reasons(rows)["tune"] == [("config", "learning_rate", 1e-3, 9.0)]

    def test_code(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        run(pipeline(), store)
        name = tune_stage.module
        old = dict(store.get("tune@latest").manifest.code.files)
        monkeypatch.setattr("flows.plan.code_files", lambda module: {**old, name: "f" * 16})
        rows = plan(pipeline(), store)
        assert actions(rows) == CACHED
        assert reasons(rows)["tune"] == [("code", name, old[name], "f" * 16)]
        strict = plan(pipeline(), store, strict_code=True)
        assert actions(strict) == dict.fromkeys(ALL, "run")
        assert reasons(strict)["tune"] == [("code", name, old[name], "f" * 16)]


class TestOptions:
    def test_from(self, store: Store) -> None:
        run(pipeline(), store)
        rows = plan(pipeline(), store, from_="tune")
        assert actions(rows) == {"text": "cached", "tune": "run", "score[a]": "run", "score[b]": "run"}
        assert reasons(rows)["score[a]"] == [("forced", "--from", None, None)]

    def test_a_stages_name_means_all_its_nodes(self, store: Store) -> None:
        run(pipeline(), store)
        rows = plan(pipeline(), store, force="plan_score")
        assert actions(rows) == {**CACHED, "score[a]": "run", "score[b]": "run"}

    def test_only(self, store: Store) -> None:
        run(pipeline(), store)
        rows = plan(pipeline(tune_config=TuneConfig(learning_rate=1.0)), store, only="tune")
        skipped = {"score[a]": "skipped", "score[b]": "skipped"}
        assert actions(rows) == {"text": "cached", "tune": "run", **skipped}

    def test_only_without_its_input(self, store: Store) -> None:
        run(pipeline(), store)
        with pytest.raises(UserError, match=r"--only score\[a\]: its input tune .*\n.*\n.*without --only"):
            plan(pipeline(tune_config=TuneConfig(learning_rate=1.0)), store, only="score[a]")

    @pytest.mark.parametrize("option", ["force", "from_", "only"])
    def test_an_unknown_name(self, store: Store, option: str) -> None:
        with pytest.raises(UserError, match=r"no stage 'tun'.*\n.*tune"):
            plan(pipeline(), store, **{option: "tun"})  # type: ignore[arg-type]

    def test_resume(self, store: Store) -> None:
        nodes = pipeline()
        made = {"text": build(store, text_stage, TextConfig(), node="text")}
        tune, inputs = nodes[1], {"data": made["text"]}
        found = resolve(store, tune.stage, tune.config, inputs)
        lease = store.lease(tune.stage.name, found.fingerprint.hex)
        with store.draft("tune", found, lease) as out:
            (out.checkpoints_dir / "checkpoint_1K_tokens").mkdir()
        row = plan(nodes, store)[1]
        assert (row.action, row.resume_from) == ("resume", "checkpoint_1K_tokens")
        again = resolve(store, tune.stage, tune.config, inputs)
        assert (again.cached, again.resume_from, again.fresh) == (None, "checkpoint_1K_tokens", False)
        assert plan(nodes, store, force="tune")[1].action == "run"
        assert resolve(store, tune.stage, tune.config, inputs, force=True).fresh

    def test_a_ref_is_an_input(self, store: Store) -> None:
        ids = run(pipeline(), store)
        node = Node("score[c]", score_stage, TextConfig(), {"model": Ref("tune@latest")})
        (row,) = plan([node], store)
        assert (row.action, row.artifact) == ("cached", ids["score[a]"])


class TestGraph:
    def test_an_input_that_is_switched_off(self, store: Store) -> None:
        with pytest.raises(ConfigError, match="tune: its input data is the stage 'text'"):
            plan(pipeline()[1:], store)

    def test_an_input_of_the_wrong_kind(self, store: Store) -> None:
        nodes = [*pipeline(), Node("bad", score_stage, TextConfig(), {"model": "text"})]
        with pytest.raises(ConfigError, match=r"makes a dataset\n.*makes a model"):
            plan(nodes, store)


def test_thirty_nodes_take_less_than_a_third_of_a_second(store: Store) -> None:
    nodes: list[Node] = [Node("text", text_stage, TextConfig())]
    for number in range(29):
        config = TuneConfig(learning_rate=1 + number)
        nodes.append(Node(f"tune[{number}]", tune_stage, config, {"data": "text"}))
    run(nodes, store)
    started = time.process_time()
    rows = plan(nodes, store, pipeline="p")
    assert time.process_time() - started < 0.3
    assert {row.action for row in rows} == {"cached"}


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, flows.plan, flows.cli.artifacts, tempering.artifacts.resolve;"
        "print([m for m in ('torch', 'prefect', 'pandas', 'pyarrow', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
