"""The recipes: every one is valid, plans, says what it lacks, and runs end to end in its local form."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tiny_models
from flows.build import build_graph
from flows.cli.main import main
from flows.config import PipelineConfig, load_pipeline
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.tables import read_rows
from tempering.config import external_files
from tempering.data.tokenizers import load_tokenizer
from tempering.errors import ConfigError
from tests.recipes.kitchen import MODELS, RECIPES, Kitchen, lay_out
from tests.recipes.rows import FILES

ROOT = RECIPES.parent.parent
SHORT = {
    "babylm-ppo": (
        "tokenizer.vocab_size=400", "samples.few.token_limit=4000", "pretrain.block_size=64",
        "pretrain.max_steps=6", "pretrain.num_epochs=10",
        "ppo.token_limit=1500", "ppo.batch_size=8", "ppo.micro_batch_size=4",
        "ppo.rollout_batch_size=8", "ppo.max_new_tokens=8", "datasets.blimp.dataset_fraction=0.2",
    ),
    "pico-squad": (
        "tokenizer.vocab_size=400", "pretrain.block_size=64", "pretrain.max_steps=6", "sft.max_steps=4",
        "reward_model.max_steps=3", "dpo.max_steps=3", "ppo.token_limit=2500", "ppo.batch_size=16",
        "ppo.rollout_batch_size=16", "ppo.max_new_tokens=4", "evaluate.benchmarks.questions.max_rows=10",
        "evaluate.benchmarks.answers.max_rows=10", "evaluate.benchmarks.preferences.max_rows=10",
        "evaluate.benchmarks.questions.max_new_tokens=4", "evaluate.benchmarks.answers.max_new_tokens=4",
    ),
    "llama3b-ultrafeedback": (
        "sft.max_steps=4", "reward_model.max_steps=3", "ppo.token_limit=1500", "ppo.batch_size=8",
        "ppo.rollout_batch_size=8", "ppo.max_new_tokens=6", "evaluate.benchmarks.answers.max_new_tokens=6",
    ),
    "imdb-sentiment": (
        "tokenizer.vocab_size=400", "pretrain.max_steps=4", "sft.max_steps=2", "reward_model.max_steps=6",
        "judge.max_steps=6", "ppo.token_limit=900", "ppo.batch_size=16", "ppo.rollout_batch_size=16",
        "ppo.max_new_tokens=8", "rloo.token_limit=900", "rloo.batch_size=16", "rloo.rollout_batch_size=16",
        "rloo.max_new_tokens=8", "evaluate.benchmarks.reviews.max_new_tokens=8",
        "evaluate.benchmarks.moved.max_new_tokens=8", "evaluate.benchmarks.varied.max_new_tokens=8",
    ),
    "qwen-smoltalk": (
        "sft.max_steps=4", "reward_model.max_steps=3", "dpo.max_steps=3", "rloo.token_limit=1500",
        "rloo.batch_size=8", "rloo.micro_batch_size=4", "rloo.rollout_batch_size=16", "rloo.max_new_tokens=6",
        "evaluate.benchmarks.answers.max_new_tokens=6",
    ),
}  # fmt: skip
"""Overrides that leave a few steps of each stage."""


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Kitchen]:
    """Lays out what a recipe's local form needs in a fresh folder, and works there."""

    def place(recipe: str) -> Kitchen:
        monkeypatch.chdir(tmp_path)
        return lay_out(recipe, tmp_path)

    return place


@pytest.mark.parametrize("folder", sorted(RECIPES.iterdir()), ids=lambda folder: folder.name)
def test_a_recipe_is_valid_and_has_a_readme(folder: Path) -> None:
    config = load_pipeline(folder / "pipeline.yaml")
    assert config.name == folder.name
    assert (folder / "README.md").read_text().startswith(f"# {folder.name}\n")


@pytest.mark.parametrize("recipe", FILES)
def test_every_local_form_plans_offline(
    recipe: str, kitchen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place: Kitchen = kitchen(recipe)
    assert main(["plan", str(place.local), "--store", "artifacts"]) == 0
    planned = capsys.readouterr().out
    assert all(node.name in planned for node in place.nodes())


@pytest.mark.parametrize(
    ("recipe", "lacks"),
    [
        ("babylm-ppo", "data/finetune/babylm/childes.train does not exist"),
        ("pico-squad", "the data set rajpurkar/squad@main cannot be read"),
        ("llama3b-ultrafeedback", "the data set HuggingFaceH4/ultrafeedback_binarized@main cannot be read"),
        ("qwen-smoltalk", "the data set HuggingFaceTB/smoltalk@main cannot be read"),
        ("imdb-sentiment", "data/reward/rotten_tomatoes.jsonl.gz does not exist"),
    ],
)
def test_without_its_files_a_recipe_says_what_it_lacks(
    recipe: str,
    lacks: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", str(RECIPES / recipe / "pipeline.yaml")]) == 2
    said = capsys.readouterr().err
    assert lacks in said
    assert "fix" in said


def recipe_settings() -> dict[str, PipelineConfig]:
    return {recipe: load_pipeline(RECIPES / recipe / "pipeline.yaml") for recipe in FILES}


def test_the_recipes_do_what_the_issue_asks() -> None:
    """The numbers a recipe is known by; `local.yaml` may change them, `pipeline.yaml` may not."""
    found = recipe_settings()
    baby, llama, qwen = (found[name] for name in ("babylm-ppo", "llama3b-ultrafeedback", "qwen-smoltalk"))
    assert baby.pretrain is not None
    assert baby.ppo is not None
    assert (baby.pretrain.num_epochs, baby.pretrain.batch_size, baby.pretrain.micro_batch_size) == (
        10,
        128,
        32,
    )
    assert (baby.pretrain.precision, baby.pretrain.lr_schedule, baby.ppo.model) == (
        "bf16",
        "cosine",
        "pretrain",
    )
    assert llama.sft is not None
    assert llama.reward_model is not None
    assert llama.ppo is not None
    assert (llama.sft.max_steps, llama.reward_model.max_steps) == (1000, 1000)
    assert all(one.adapter is not None for one in (llama.sft, llama.reward_model, llama.ppo))
    episodes = llama.samples["prompts"].datasets["prompts"].rows
    assert (episodes, llama.ppo.num_epochs, llama.ppo.num_completions, llama.ppo.max_new_tokens) == (
        1024,
        1,
        1,
        128,
    )
    pairs = llama.datasets["pairs"]
    assert (pairs.train_split, pairs.eval_split) == ("train_prefs", "test_prefs")
    assert qwen.dpo is not None
    assert qwen.rloo is not None
    assert (qwen.dpo.model, qwen.rloo.model) == ("sft", "base")
    assert qwen.evaluate is not None
    assert {"base", "sft", "dpo", "rloo"} <= set(qwen.evaluate.models)


@pytest.mark.parametrize("family", ["transformer", "lstm", "kgram"])
def test_one_override_chooses_the_family(family: str) -> None:
    for form in ("pipeline", "local"):
        path = RECIPES / "pico-squad" / f"{form}.yaml"
        config = load_pipeline(path, [f"pretrain.architecture.kind={family}"])
        assert config.pretrain is not None
        assert config.pretrain.architecture.kind == family


# -- end to end ----------------------------------------------------------------------------------


def metrics_of(made: dict[str, Artifact], model: str) -> dict[tuple[str, str], float]:
    rows = read_rows(made[f"evaluate[{model}]"].path / "metadata" / "metrics.parquet")
    return {(row["benchmark"], row["metric"]): row["value"] for row in rows}


@pytest.mark.slow
def test_babylm_ppo_goes_from_pretraining_to_ppo(kitchen: Callable[[str], Kitchen]) -> None:
    made = kitchen("babylm-ppo").run(SHORT["babylm-ppo"])
    assert made["ppo"].manifest.inputs["model"].id == made["pretrain"].id
    assert made["pretrain"].manifest.metrics["steps"] == 6
    stats = read_rows(made["ppo"].path / "metadata" / "training_stats.parquet")
    assert len(stats) >= 2
    assert all(0 <= row["score"] < 1 for row in stats), "a random reward is noise in [0, 1)"
    prompts = read_rows(next((made["sample[prompts]"].path / "rows" / "train").glob("*.parquet")))
    assert all(8 <= len(row["input_ids"]) <= 24 for row in prompts)
    for model in ("pretrain", "ppo"):
        found = metrics_of(made, model)
        assert ("blimp", "accuracy") in found
        assert ("stories", "loss") in found


@pytest.mark.slow
@pytest.mark.parametrize("family", ["transformer", "lstm", "kgram"])
def test_pico_squad_runs_for_every_family(family: str, kitchen: Callable[[str], Kitchen]) -> None:
    made = kitchen("pico-squad").run([*SHORT["pico-squad"], f"pretrain.architecture.kind={family}"])
    assert {"pretrain", "sft", "reward_model", "dpo", "ppo", "report"} <= made.keys()
    for model in ("sft", "dpo", "ppo"):
        found = metrics_of(made, model)
        assert {("questions", "exact_match"), ("questions", "f1"), ("answers", "reward")} <= found.keys()
    assert ("answers", "win_rate") in metrics_of(made, "ppo")
    assert ("preferences", "accuracy") in metrics_of(made, "reward_model")


@pytest.mark.slow
def test_llama_with_adapters_is_merged_after_every_stage(kitchen: Callable[[str], Kitchen]) -> None:
    made = kitchen("llama3b-ultrafeedback").run(SHORT["llama3b-ultrafeedback"])
    for stage in ("sft", "reward_model", "ppo"):
        assert made[stage].manifest.details["adapter"] is True
        assert made[f"merge[{stage}]"].manifest.details["adapter"] is False
    assert made["ppo"].manifest.inputs["model"].id == made["merge[sft]"].id
    assert made["ppo"].manifest.inputs["reward_models.model"].id == made["merge[reward_model]"].id
    assert ("answers", "win_rate") in metrics_of(made, "ppo")
    assert ("preferences", "accuracy") in metrics_of(made, "reward_model")


@pytest.mark.slow
def test_qwen_is_tuned_three_ways_and_compared_with_its_base(kitchen: Callable[[str], Kitchen]) -> None:
    made = kitchen("qwen-smoltalk").run(SHORT["qwen-smoltalk"])
    assert made["dpo"].manifest.inputs["model"].id == made["sft"].id
    assert made["rloo"].manifest.inputs["model"].id == made["adopt[base]"].id
    for model in ("sft", "dpo", "rloo"):
        assert ("answers", "win_rate") in metrics_of(made, model)
    assert ("answers", "reward") in metrics_of(made, "base")


@pytest.mark.slow
def test_the_sentiment_judge_has_not_seen_what_the_reward_learnt_from(
    kitchen: Callable[[str], Kitchen],
) -> None:
    made = kitchen("imdb-sentiment").run(SHORT["imdb-sentiment"])
    halves = [
        {
            row["text"]
            for path in (made[f"dataset[{name}]"].path / "rows" / "train").iterdir()
            for row in read_rows(path)
        }
        for name in ("half", "other_half")
    ]
    assert all(halves)
    assert not halves[0] & halves[1]
    for model in ("ppo", "rloo"):
        assert made[model].manifest.inputs["reward_models.model"].id == made["reward_model"].id
        metrics = metrics_of(made, model)
        assert {("reviews", "positive_share"), ("moved", "kl_per_completion"), ("fluency", "loss")} <= {
            *metrics
        }
        assert made[f"evaluate[{model}]"].manifest.inputs["reward_model"].id == made["judge"].id


# -- what the READMEs say -----------------------------------------------------------------------


def readme_commands(recipe: str, program: str) -> list[list[str]]:
    """The lines of a README that call `program`, long ones joined at their backslash, as words."""
    text = (RECIPES / recipe / "README.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").split("\n")]
    return [shlex.split(line) for line in lines if line.startswith(program)]


@pytest.mark.parametrize("recipe", FILES)
def test_readme_commands_name_settings_that_exist(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("my/Llama-3.2-3B-Instruct", "data/models/tiny-qwen", "data/models/tiny-llama"):
        (tmp_path / folder).mkdir(parents=True)
    commands = readme_commands(recipe, "temper ")
    assert len(commands) >= 3
    for _, verb, config, *words in commands:
        assert verb in ("plan", "run")
        assert config.startswith(f"configs/recipes/{recipe}/")
        overrides = [word for word in words if word != "--memory"]
        build_graph(load_pipeline(ROOT / config, overrides))


@pytest.mark.parametrize("recipe", MODELS)
def test_the_readme_makes_the_model_that_the_local_form_expects(
    recipe: str, kitchen: Callable[[str], Kitchen], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = kitchen(recipe)
    shutil.rmtree(place.folder / "data" / "models")
    with pytest.raises(ConfigError, match="is not a folder"):
        identity_of_base(place)
    ((_, _, module, *words),) = readme_commands(recipe, "python -m benchmarks.tiny_models")
    assert module == "benchmarks.tiny_models"
    monkeypatch.setattr(sys, "argv", [module, *words, "--steps", "2", "--vocab-size", "400"])
    tiny_models.main()
    assert any(file.name == "model.safetensors" for file in identity_of_base(place))


def identity_of_base(place: Kitchen) -> tuple[Path, ...]:
    """The files of the base model that a plan hashes."""
    (node,) = [node for node in place.nodes() if node.name == "adopt[base]"]
    return external_files(node.config)


def test_a_tiny_model_has_what_is_particular_to_its_family(kitchen: Callable[[str], Kitchen]) -> None:
    """What adoption must cope with: Llama's BOS and missing pad token, Qwen's pad that is EOS, spare rows."""
    made = kitchen("llama3b-ultrafeedback")
    llama = load_tokenizer(made.folder / "data/models/tiny-llama")
    assert llama.pad_token is None
    assert llama("a")["input_ids"][0] == llama.bos_token_id
    settings = json.loads((made.folder / "data/models/tiny-llama/config.json").read_text())
    assert settings["num_key_value_heads"] < settings["num_attention_heads"]
    assert settings["rope_parameters"]["rope_type"] == "llama3"
    assert len(settings["eos_token_id"]) == 3
    qwen = load_tokenizer(lay_out("qwen-smoltalk", made.folder / "qwen").folder / "data/models/tiny-qwen")
    assert qwen.pad_token_id == qwen.eos_token_id
    settings = json.loads((made.folder / "qwen/data/models/tiny-qwen/config.json").read_text())
    assert settings["vocab_size"] > len(qwen)
