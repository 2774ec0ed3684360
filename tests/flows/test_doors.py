"""What a plan refuses: one message and exit code 2, before anything is computed or written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.options import Options
from flows.pipeline import plan_pipeline, require_memory
from flows.plan import PlanRow
from tempering.errors import ConfigError

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "configs/quickstart.yaml"

Plan = Callable[..., str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Plan:
    """The message of a plan of the quickstart that is refused."""

    def plan(*words: str, config: Path = QUICK) -> str:
        code = main(["plan", str(config), *words, "--store", str(tmp_path / "store")])
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ")
        assert not (tmp_path / "store").exists()
        return err

    return plan


INVISIBLE = ['"a\\0b"', '"a\\nb"', '"\\e[31m"', '"\\ud800"', '"\\u202ea"']
ODD = [*INVISIBLE, '""', '" "', '".."', '"--"', "x" * 300, "7", "true"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("place", ["name", "datasets", "samples", "models", "evaluate.benchmarks"])
def test_a_name_that_nobody_can_read_or_no_folder_can_have(refusal: Plan, place: str, name: str) -> None:
    setting = f"name={name}" if place == "name" else f"{place}={{{name}: {{kind: text}}}}"
    message = refusal(setting)
    assert f"{place}" in message
    assert "the name " in message
    assert len(message) < 500


@pytest.mark.parametrize("name", ["R&D", "50%", "a/b", "<a>", ".hidden", "日本語", "naïve 2", "a.b:c@d"])
def test_a_name_that_people_give(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(tmp_path / "store"))
    data = f'datasets={{"{name}": {{kind: world, rows: corpus, size: 10}}}}'
    rest = ("tokenizer.datasets=[]", "samples={}", "evaluate=null", "report=null")
    off = [f"{kind}=null" for kind in ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")]
    words = [f'name="{name}"', data, f'tokenizer={{kind: train, datasets: ["{name}"]}}', *rest[1:], *off]
    assert main(["plan", str(QUICK), *words, *store]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        # a size that is more than any machine holds, or none
        ("pretrain.architecture.overrides.num_hidden_layers=1000000", "from 1 to 10,000"),
        ("pretrain.architecture.overrides.num_hidden_layers=0", "num_hidden_layers is 0"),
        ("pretrain.architecture.overrides.num_hidden_layers=-1", "num_hidden_layers is -1"),
        ("pretrain.architecture.overrides.num_hidden_layers=many", "num_hidden_layers is 'many'"),
        ("pretrain.architecture.overrides.hidden_size=1099511627776", "from 1 to 1,000,000"),
        (
            "pretrain.architecture.overrides={hidden_size: 100000, num_hidden_layers: 100}",
            "2.0e+12 parameters",
        ),
        ("pretrain.architecture={kind: lstm, overrides: {hidden_size: 1000000}}", "parameters"),
        ("pretrain.architecture={kind: kgram, overrides: {context_size: 1000000}}", "context_size is"),
        ("pretrain.architecture.max_position_embeddings=1000000000", "less than or equal to 100000000"),
        ("pretrain.architecture.overrides.initializer_range=.inf", "a finite number"),
        ("pretrain.architecture.overrides.deep={x: [1, .nan]}", "a finite number"),
        (f"pretrain.architecture.overrides.x={2**64}", "more than 64 bits"),
        # a count
        ("sft.batch_size=1000000000", "sft.batch_size: found 1000000000"),
        ("sft.micro_batch_size=1000000000", "sft.micro_batch_size"),
        ("pretrain.block_size=100000000", "pretrain.block_size"),
        ("ppo.max_new_tokens=1000000000000", "ppo.max_new_tokens"),
        ("rloo.num_completions=100000000", "rloo.num_completions"),
        ("ppo.rollout_batch_size=100000000", "ppo.rollout_batch_size"),
        ("ppo.ppo_epochs=1000000000", "ppo.ppo_epochs"),
        ("ppo.num_epochs=1e300", "ppo.num_epochs"),
        ("tokenizer.vocab_size=1000000000000", "tokenizer.vocab_size"),
        ("samples.sft.max_length=1000000000000", "samples.sft.max_length"),
        (f"samples.sft.token_limit={2**63}", "more than 64 bits"),
        ("samples.sft.token_limit=0", "samples.sft.token_limit"),
        (f"ppo.token_limit={2**70}", "more than 64 bits"),
        ("evaluate.batch_size=10000000000", "evaluate.batch_size"),
        ("runtime.threads=1000000", "runtime.threads"),
        # a number that is none
        ("sft.learning_rate=.nan", "sft.learning_rate"),
        ("sft.learning_rate=.inf", "finite number"),
        ("sft.weight_decay=1e300", "a finite number"),
        # a seed that NumPy does not take
        (f"seed={2**32}", "less than or equal to 4294967295"),
        (f"sft.seed={2**32}", "less than or equal to 4294967295"),
        (f"evaluate.seed={2**40}", "less than or equal to 4294967295"),
        (f"samples.sft.seed={2**40}", "less than or equal to 4294967295"),
        (f"datasets.corpus.seed={2**40}", "less than or equal to 4294967295"),
        ("seed=-1", "greater than or equal to 0"),
        # a text that no library takes
        ('sft.model="a\\0b"', "sft.model: no text of a config has a NUL"),
    ],
)
def test_sizes_that_are_nonsense(refusal: Plan, setting: str, message: str) -> None:
    assert message in refusal(setting)


def test_the_largest_that_make_sense_are_planned(tmp_path: Path) -> None:
    llama_405b = (
        "{num_hidden_layers: 126, hidden_size: 16384, intermediate_size: 53248, num_attention_heads: 128}"
    )
    # Qwen3-235B, whose experts are narrower than its `intermediate_size`.
    experts = "{num_hidden_layers: 94, hidden_size: 4096, intermediate_size: 12288, num_experts: 128, "
    experts += "moe_intermediate_size: 1536}"
    for sizes in (llama_405b, experts):
        words = [f"pretrain.architecture.overrides={sizes}", f"seed={2**32 - 1}", "sft.batch_size=65536"]
        assert main(["plan", str(QUICK), *words, "--store", str(tmp_path)]) == 0


def test_a_model_that_this_machine_cannot_hold_is_not_begun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = plan_pipeline(Options(str(QUICK), store=str(tmp_path))).rows
    require_memory(rows)
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    with pytest.raises(ConfigError, match="pretrain: the weights of its model need at least"):
        require_memory(rows)


def model_folder(folder: Path, **files: str) -> Path:
    """A folder with these files; `_` in a name is a dot."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


CONFIG = '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is no config.json"),
        ({"model__safetensors": ""}, "there is no config.json"),
        ({"adapter_config__json": "{}"}, "has only an adapter"),
        ({"config__json": CONFIG}, "has no safetensors"),
        ({"config__json": CONFIG, "pytorch_model__bin": ""}, "temper convert"),
        ({"config__json": "[", "model__safetensors": ""}, "cannot be read"),
        ({"config__json": "[]", "model__safetensors": ""}, "does not hold a mapping"),
        ({"config__json": '{"n_layer": 1e9}', "model__safetensors": ""}, "n_layer is 1000000000.0"),
        (
            {"config__json": CONFIG.replace("CausalLM", "SequenceClassification"), "model__safetensors": ""},
            "is not a language model",
        ),
    ],
)
def test_a_folder_that_is_no_model(
    refusal: Plan, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = model_folder(tmp_path / "model", **files)
    assert message in refusal(f"models.base={folder}", "sft.model=base", "pretrain=null")
    assert message in refusal(f"sft.model={folder}", "pretrain=null")


def stages(words: list[str], tmp_path: Path) -> dict[str, PlanRow]:
    return {row.stage: row for row in plan_pipeline(Options(str(QUICK), tuple(words), str(tmp_path))).rows}


def test_a_reward_model_from_elsewhere_is_measured_as_one(tmp_path: Path, refusal: Plan) -> None:
    config = CONFIG.replace("CausalLM", "SequenceClassification")
    folder = model_folder(tmp_path / "scorer", config__json=config, model__safetensors="")
    rows = stages([f"models.scorer={folder}", "evaluate.models=[scorer, sft]"], tmp_path / "store")
    node = rows["evaluate[scorer]"].node
    assert node is not None
    assert list(getattr(node.config, "benchmarks", {})) == ["preferences", "flaws"]
    assert "'reward_model@latest' is not a language model" in refusal("sft.model=reward_model@latest")


def test_a_stage_of_its_own_name_that_is_off_is_not_evaluated(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(
        f"extends: {QUICK}\nmine: {{kind: rloo}}\nscorer: {{kind: reward_model}}\n"
        "evaluate: {models: [sft, mine], reward_model: scorer, baseline: mine}\n"
    )
    over = tmp_path / "over.yaml"
    over.write_text("extends: base.yaml\nmine: null\nscorer: null\n")
    rows = plan_pipeline(Options(str(over), store=str(tmp_path / "store"))).rows
    assert [row.stage for row in rows if row.stage.startswith("evaluate")] == ["evaluate[sft]"]


@pytest.mark.parametrize("option", ["--force", "--from"])
def test_what_only_leaves_out_cannot_be_forced(refusal: Plan, option: str) -> None:
    assert f"{option} dpo makes nothing again that --only sft runs" in refusal("--only", "sft", option, "dpo")
    assert "there is no stage 'dppo'" in refusal("--only", "sft", option, "dppo")
