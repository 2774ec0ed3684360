"""The data stages end to end: from a config to payload files with the same bytes each time."""

import json
import shutil

import pytest

from tasks.dataset import dataset
from tasks.sample import sample
from tasks.tokenizer import tokenizer
from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.manifest import Manifest
from tempering.artifacts.tables import read_rows
from tempering.data.builders import ChatConfig, HHConfig, WorldConfig
from tempering.data.sample.config import SampleConfig
from tempering.data.tokenizers import ExistingTokenizerConfig, TrainTokenizerConfig, load_tokenizer
from tempering.errors import DataError


def run(stage, folder, config, **inputs):
    """Run a stage into `folder`; its draft as an artifact, and its summary."""
    out = Draft(folder)
    summary = stage(out, config, **inputs)
    manifest = Manifest(
        stage=stage.name,
        kind=stage.makes.kind,
        id=folder.name,
        fingerprint="0" * 64,
        details=out.details,
        payload_digest=f"digest of {folder.name}",
    )
    return stage.makes(folder, manifest), summary


def payload(artifact):
    paths = [path for path in artifact.path.rglob("*") if path.is_file() and path.name != "log.txt"]
    return {path.relative_to(artifact.path): path.read_bytes() for path in sorted(paths)}


ROWS = ("corpus", "demonstrations", "preferences", "prompts", "questions", "minimal_pairs")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One small data set of each kind and a tokenizer."""
    root = tmp_path_factory.mktemp("store")
    sets = {
        rows: run(dataset, root / rows, WorldConfig(rows=rows, size=80, eval_fraction=0.2))[0]
        for rows in ROWS
    }
    config = TrainTokenizerConfig(vocab_size=500, datasets=("corpus", "demonstrations"))
    inputs = {name: sets[name] for name in config.datasets}
    artifact, summary = run(tokenizer, root / "tokenizer", config, datasets=inputs)
    return sets, artifact, summary


def test_datasets_hold_both_parts_and_their_counts(made):
    sets, _, _ = made
    for artifact in sets.values():
        counts = {row["part"]: row["rows"] for row in artifact.read("summary").to_dict("records")}
        assert counts["train"] + counts["eval"] == 80
        assert counts["rejected"] == len(artifact.read("rejected")) == 0
        assert len(artifact.rows("train")) == counts["train"] > 0
    assert sets["preferences"].row_type == "preference"
    row = read_rows(sets["preferences"].rows_path("eval"))[0]
    assert set(row) == {"prompt", "chosen", "rejected", "flipped"}
    assert row["chosen"][0]["role"] == "assistant"


def test_columns_without_use_are_counted(tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    row = json.dumps({"messages": turns, "meta": {"a": 1}, "id": 7})
    (tmp_path / "a.jsonl").write_text(f"{row}\n" * 3)
    artifact, _ = run(dataset, tmp_path / "d", ChatConfig(path=tmp_path / "a.jsonl", eval_fraction=0))
    assert artifact.read("unused_columns").to_dict("records") == [{"column": "meta", "rows": 3}]
    assert "no part of a row (and the rows that have them): meta (3)" in (tmp_path / "d/log.txt").read_text()


def test_empty_parts_keep_their_columns(tmp_path):
    artifact, summary = run(
        dataset, tmp_path / "a", WorldConfig(rows="demonstrations", size=5, eval_fraction=1)
    )
    assert (summary["rows"], summary["eval_rows"]) == (0, 5)
    assert list(artifact.rows("train").columns) == list(artifact.rows("eval").columns)
    assert "gold" in artifact.rows("train").columns


def test_rejections_are_listed(tmp_path, request):
    path = request.config.rootpath / "tests/fixtures/hh.jsonl"
    with pytest.raises(DataError, match="were rejected"):
        run(dataset, tmp_path / "a", HHConfig(path=path))
    artifact, summary = run(dataset, tmp_path / "b", HHConfig(path=path, max_rejected_fraction=0.9))
    assert summary["rejected"] == 6
    assert list(artifact.read("rejected").columns) == ["file", "line", "reason", "excerpt", "kept", "filter"]
    assert list(artifact.read("rejected")["line"]) == [3, 4, 5, 6, 7, 9]


def test_the_tokenizer_loads_and_says_its_numbers(made):
    _, artifact, summary = made
    loaded = load_tokenizer(artifact.tokenizer_dir)
    assert summary["vocab_size"] == len(loaded) <= 500
    assert 1 <= summary["tokens_per_word"] < 2
    assert summary["bytes_per_token"] > 3


def test_an_existing_tokenizer_from_an_artifact(made, tmp_path):
    _, artifact, _ = made
    config = ExistingTokenizerConfig(name_or_path="tokenizer@latest")
    again, summary = run(tokenizer, tmp_path / "a", config, base=artifact)
    assert summary == {"vocab_size": len(load_tokenizer(artifact.tokenizer_dir))}
    assert again.details["added"] == []
    model = ModelArtifact(tmp_path, artifact.manifest)
    load_tokenizer(artifact.tokenizer_dir).save_pretrained(model.model_dir)
    run(tokenizer, tmp_path / "b", config, base=model)
    run(tokenizer, tmp_path / "c", ExistingTokenizerConfig(name_or_path=str(artifact.tokenizer_dir)))


COLUMNS = {
    "corpus": ["input_ids", "num_tokens"],
    "demonstrations": ["input_ids", "completion_mask", "num_tokens"],
    "preferences": ["prompt_ids", "chosen_ids", "rejected_ids", "num_tokens"],
    "prompts": ["input_ids", "query", "prompt", "num_tokens"],
}


@pytest.mark.parametrize("rows", COLUMNS)
def test_samples_hold_token_rows_up_to_the_limit(made, tmp_path, rows):
    sets, made_tokenizer, _ = made
    config = SampleConfig(datasets={rows: 1}, token_limit=400, eval_token_limit=200)
    artifact, summary = run(
        sample, tmp_path / rows, config, tokenizer=made_tokenizer, datasets={rows: sets[rows]}
    )
    train = artifact.rows("train")
    assert list(train.columns) == COLUMNS[rows]
    assert 400 <= train["num_tokens"].sum() == summary["tokens"] < 400 + 400
    assert artifact.row_type == sets[rows].row_type
    assert artifact.details["tokenizer"] == made_tokenizer.digest
    sources = artifact.read("sources")
    assert list(sources["part"]) == ["train", "eval"]
    assert sources["tokens"][0] == summary["tokens"]


def test_prompts_from_demonstrations_keep_their_extra_columns(made, tmp_path):
    sets, made_tokenizer, _ = made
    config = SampleConfig(datasets={"demonstrations": 1}, row_type="prompt")
    inputs = {"tokenizer": made_tokenizer, "datasets": {"demonstrations": sets["demonstrations"]}}
    artifact, _ = run(sample, tmp_path / "a", config, **inputs)
    assert list(artifact.rows().columns) == [*COLUMNS["prompts"], "gold"]


def test_questions_are_refused_with_what_they_are_for(made, tmp_path):
    sets, made_tokenizer, _ = made
    inputs = {"tokenizer": made_tokenizer, "datasets": {"questions": sets["questions"]}}
    with pytest.raises(DataError, match="holds question rows"):
        run(sample, tmp_path / "a", SampleConfig(datasets={"questions": 1}), **inputs)


def test_the_same_config_gives_the_same_bytes(made, tmp_path):
    sets, made_tokenizer, _ = made
    config = WorldConfig(rows="preferences", size=80, eval_fraction=0.2)
    assert payload(run(dataset, tmp_path / "a", config)[0]) == payload(sets["preferences"])
    config = TrainTokenizerConfig(vocab_size=500, datasets=("corpus", "demonstrations"))
    inputs = {name: sets[name] for name in ("demonstrations", "corpus")}
    assert payload(run(tokenizer, tmp_path / "b", config, datasets=inputs)[0]) == payload(made_tokenizer)
    weights = {"preferences": 2.0, "demonstrations": 1.0}
    runs = []
    for name, order in (("c", list(weights)), ("d", sorted(weights))):
        config = SampleConfig(
            datasets={key: weights[key] for key in order}, row_type="prompt", token_limit=500
        )
        inputs = {"tokenizer": made_tokenizer, "datasets": {key: sets[key] for key in order}}
        runs.append(payload(run(sample, tmp_path / name, config, **inputs)[0]))
    assert runs[0] == runs[1]


def test_a_branch_that_moved_since_planning_is_refused(tmp_path, monkeypatch):
    from tempering.artifacts.resolve import resolve
    from tempering.artifacts.store import Store
    from tempering.data.builders import base

    config = ChatConfig(hub="owner/talk", eval_fraction=0)
    monkeypatch.setattr(base, "hub_commit", lambda name, revision: "a" * 40)
    store = Store(tmp_path / "store")
    found = resolve(store, dataset, config, {})
    assert ["hub:owner/talk", "a" * 40] in found.fingerprint.hashed["files"]
    lease = store.lease("dataset", found.fingerprint.hex)
    with store.draft("talk", found, lease) as draft:
        monkeypatch.setattr(base, "hub_commit", lambda name, revision: "b" * 40)
        with pytest.raises(DataError, match="moved to commit bbbbbbbbbbbb"):
            dataset(draft, config)


def test_tokens_are_never_those_of_another_template(made, tmp_path):
    """The key of a sample holds the tokenizer's files, and with them its chat template."""
    from tempering.artifacts.resolve import resolve
    from tempering.artifacts.store import Store

    _, artifact, _ = made
    store, keys = Store(tmp_path / "store"), []
    folder = tmp_path / "mine"
    shutil.copytree(artifact.tokenizer_dir, folder)
    for template in ("{{ messages }}", "{{ messages }}!"):
        (folder / "chat_template.jinja").write_text(template)
        keys.append(
            resolve(store, tokenizer, ExistingTokenizerConfig(name_or_path=str(folder)), {}).fingerprint
        )
    assert keys[0].hex != keys[1].hex
