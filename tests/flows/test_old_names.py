"""What old recipes keep in a training section and is the pipeline's: prompts, store, tracking."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.main import main
from flows.config import PipelineConfig, load_pipeline
from flows.options import Options
from flows.pipeline import plan_pipeline
from tempering.errors import ConfigError
from tests.conftest import tiny_nodes

ROOT = Path(__file__).parent.parent.parent


def named(changes: dict[str, Any]) -> dict[str, Any]:
    return {node.name: node for node in tiny_nodes(changes)}


@pytest.mark.parametrize("section", ["ppo", "rloo"])
def test_query_lengths_bound_a_copy_of_the_sample(section: str) -> None:
    nodes = named({f"{section}.query_min_length": 2, f"{section}.query_max_length": 30})
    made = nodes[f"sample[{section}_prompts]"].config
    assert made.query_lengths == (2, 30)
    assert made.model_copy(update={"query_min_length": None, "query_max_length": None}) == (
        named({"samples.prompts.row_type": "prompt"})["sample[prompts]"].config
    )
    assert nodes[section].inputs["sample"] == f"sample[{section}_prompts]"
    other = {"ppo": "rloo", "rloo": "ppo"}[section]
    assert nodes[other].inputs["sample"] == "sample[prompts]", "the other one keeps its own"


def test_data_path_makes_a_data_set_and_a_sample(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Say hello."}\n' * 4)
    nodes = named(
        {
            "ppo.data_path": str(tmp_path / "rows.jsonl"),
            "ppo.query_min_length": 1,
            "ppo.query_max_length": 20,
            "samples.prompts.prompt_format": "role_markers",
        }
    )
    data, sample = nodes["dataset[ppo_data]"].config, nodes["sample[ppo_prompts]"].config
    assert (data.kind, data.path, data.eval_fraction) == ("auto", tmp_path / "rows.jsonl", 0)
    assert list(sample.datasets) == ["ppo_data"]
    assert (sample.row_type, sample.query_lengths) == ("prompt", (1, 20))
    assert (sample.prompt_format, sample.max_length) == ("role_markers", 96), "read as samples.prompts is"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ppo.data_path": "x", "ppo.sample": "prompts"}, "ppo.sample and ppo.data_path are two names"),
        ({"ppo.data_path": "x", "datasets.ppo_data": {"kind": "auto"}}, "datasets.ppo_data already exists"),
        ({"ppo.data_path": "x", "samples.ppo_prompts": {}}, "samples.ppo_prompts already exists"),
        ({"ppo.query_max_length": 4, "ppo.sample": "none"}, "sample 'none', which does not exist"),
        (
            {"ppo.query_max_length": 4, "samples.prompts.query_max_length": 5},
            "samples.prompts.query_max_length and ppo.query_max_length are two names",
        ),
        ({"ppo.query_max_length": 4}, "are set together"),
        ({"ppo.query_min_length": 4, "ppo.query_max_length": 400}, r"<= max_length \(96\)"),
        (
            {"ppo.log_with": "wandb", "runtime.log_with": "wandb"},
            "runtime.log_with and ppo.log_with are two names",
        ),
        ({"ppo.save_base_dir": "a", "sft.save_base_dir": "a"}, "sft.save_base_dir and ppo.save_base_dir"),
        ({"runtime.save_base_dir": "a", "runtime.store": "a"}, "runtime.store and runtime.save_base_dir"),
        ({"ppo.log_with": "mlflow"}, "runtime.log_with: found 'mlflow'"),
    ],
)
def test_one_thing_under_two_names_is_refused(changes: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tiny_nodes(changes)


def pipeline(tmp_path: Path, **ppo: Any) -> Path:
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump({"extends": str(ROOT / "configs/ppo.yaml"), "ppo": ppo}))
    return path


@pytest.mark.parametrize("section", ["ppo", "sft", "runtime"])
def test_where_things_go_is_no_part_of_the_identity(section: str, tmp_path: Path) -> None:
    path = pipeline(tmp_path, save_base_dir=None)
    plain = load_pipeline(path)
    moved = load_pipeline(path, [f"{section}.save_base_dir={tmp_path}", f"{section}.log_with=tensorboard"])
    assert (moved.runtime.store, moved.runtime.log_with) == (str(tmp_path), "tensorboard")
    assert (plain.runtime.store, plain.runtime.log_with) == (None, None)
    assert moved.model_copy(update={"runtime": plain.runtime}) == plain


def test_the_command_line_goes_before_the_environment_before_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.cli.main import _parse

    path = str(pipeline(tmp_path, save_base_dir=str(tmp_path / "config")))
    monkeypatch.chdir(tmp_path)

    def root(*words: str) -> str:
        return plan_pipeline(Options.from_arguments(_parse(["plan", *words]))).store.root.name

    monkeypatch.delenv("TEMPER_STORE", raising=False)
    assert root(path) == "config"
    monkeypatch.setenv("TEMPER_STORE", str(tmp_path / "environment"))
    assert root(path) == "environment"
    assert root(path, "--store", str(tmp_path / "flag")) == "flag"
    monkeypatch.delenv("TEMPER_STORE")
    assert root(path, "ppo.save_base_dir=null") == "artifacts"


PUBLISHED = (
    "learning_rate", "batch_size", "token_limit", "checkpoint_interval", "output_min_length",
    "output_max_length", "generation_kwargs", "num_epochs", "query_min_length", "query_max_length",
    "data_path", "save_base_dir", "log_with", "total_episodes", "response_length",
    "per_device_train_batch_size", "gradient_accumulation_steps", "ppo_epochs", "ppo_batch_size",
    "kl_target",
)  # fmt: skip


def test_the_shipped_config_has_every_published_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "configs/ppo.yaml"
    written = yaml.safe_load(path.read_text())["ppo"]
    assert set(PUBLISHED) - set(written) == {"response_length"}, "which is output_max_length, in a comment"
    assert "# response_length" in path.read_text()
    config = load_pipeline(path)
    assert config.ppo is not None
    assert (config.ppo.rollout_batch_size, config.ppo.batch_size, config.ppo.micro_batch_size) == (96, 48, 24)
    assert (config.ppo.max_new_tokens, config.ppo.target_kl, config.ppo.top_k) == (48, 6.0, None)
    assert main(["plan", str(path), "--store", str(tmp_path)]) == 0
    planned = capsys.readouterr().out
    assert "evaluate[ppo]" in planned
    assert "rloo" not in planned
    assert PipelineConfig.model_validate(config.model_dump()) == config, "a resolved config can be read again"


def test_the_page_says_what_the_table_does() -> None:
    """Written twice on purpose: a name that is lost, or means another setting, differs from the page."""
    from tempering.training.aliases import ALIASES, GENERATION, OF_PROMPTS, RUN_WIDE, SWITCHES

    page = (ROOT / "docs/ppo-config.md").read_text()
    said: dict[str, str] = {}
    for line in page.partition("| ours |")[2].partition("\n\n")[0].splitlines()[2:]:
        ours, others = (re.findall(r"`(\w[\w.]*)`", column) for column in line.split("|")[1:3])
        said |= dict.fromkeys(others, ours[0])
    table = ALIASES | {name: meant[0] for name, meant in SWITCHES.items()}
    assert said == table | {name: f"runtime.{ours}" for name, ours in RUN_WIDE.items()}
    for name in (*OF_PROMPTS, *GENERATION, *PUBLISHED):
        assert f"`{name}`" in page, name
