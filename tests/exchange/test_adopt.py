"""Models from elsewhere: complete and checked when they come in, or refused with the mend."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.artifacts.kinds import ModelArtifact
from tempering.errors import ConfigError, UserError
from tests.conftest import tiny_nodes
from tests.models.outside import bare_tokenizer, outside
from tests.tiny import CPU, run_nodes


def adopted(source: Path, store: Any, **settings: Any) -> ModelArtifact:
    import tasks.adopt
    from tempering.artifacts.resolve import build
    from tempering.model_config import AdoptConfig

    config = AdoptConfig(name_or_path=str(source), **settings)
    made = build(store, tasks.adopt.adopt, config, node="adopt[x]", runtime=CPU)
    assert isinstance(made, ModelArtifact)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Any:
    from tempering.artifacts.store import Store

    return Store(tmp_path / "store")


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_what_training_needs_is_added_and_nothing_else_changes(kind: str, store: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = outside(tmp_path / kind, kind)
    made = adopted(source, store)
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (source, made.model_dir))
    old, tokenizer = (AutoTokenizer.from_pretrained(folder) for folder in (source, made.model_dir))
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.chat_template
    assert len(tokenizer) == len(old) + 1 == after.get_input_embeddings().weight.shape[0]
    assert after.config.pad_token_id == tokenizer.pad_token_id
    ids = torch.tensor([old("Once upon a time")["input_ids"]])
    torch.testing.assert_close(after(ids).logits[..., : len(old)], before(ids).logits)
    grown = after.get_input_embeddings().weight[len(old)]
    torch.testing.assert_close(grown, before.get_input_embeddings().weight.mean(0))


def test_where_it_came_from_is_kept(store: Any, tmp_path: Path) -> None:
    import hashlib

    source = outside(tmp_path / "llama")
    made = adopted(source, store)
    files = made.read("source_files").set_index("file")["sha256"]
    weights = (source / "model.safetensors").read_bytes()
    assert files["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert made.details["source"] == {"folder": "llama"}
    for file in made.model_dir.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file
    assert adopted(source, store).id == made.id, "the same bytes are the same artifact"
    (source / "model.safetensors").write_bytes(weights[:-4] + b"\0\0\0\1")
    assert adopted(source, store).id != made.id, "other bytes are another"


def test_weights_keep_their_dtype(store: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    source = outside(tmp_path / "llama")
    AutoModelForCausalLM.from_pretrained(source).bfloat16().save_pretrained(source)
    kept = AutoModelForCausalLM.from_pretrained(adopted(source, store).model_dir)
    assert kept.dtype == torch.bfloat16


def test_the_tokenizer_stage_makes_the_tokenizer_of_the_adopted_model(store: Any, tmp_path: Path) -> None:
    """So that samples made with the one fit the other."""
    import tasks.tokenizer
    from tempering.artifacts.resolve import build
    from tempering.data.tokenizers import ExistingTokenizerConfig

    source = outside(tmp_path / "llama")
    made = adopted(source, store)
    for name, inputs in ((str(source), {}), ("base", {"base": made})):
        config = ExistingTokenizerConfig(name_or_path=name)
        tokenizer = build(store, tasks.tokenizer.tokenizer, config, inputs, runtime=CPU)
        assert tokenizer.details["digest"] == made.details["tokenizer"]


def test_a_reward_model_keeps_its_head(store: Any, tmp_path: Path) -> None:
    from tempering.models.loading import load_scorer

    source = outside(tmp_path / "llama", scorer=True, tokenizer=_whole_tokenizer())
    made = adopted(source, store)
    assert made.details["head"] == "score"
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(load_scorer(made.model_dir)(ids).logits, load_scorer(source)(ids).logits)


def _whole_tokenizer() -> Any:
    tokenizer = bare_tokenizer(eos_token="<|endoftext|>", pad_token="!")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return tokenizer


def edit(source: Path, name: str, **changes: Any) -> None:
    path = source / name
    tree = json.loads(path.read_text())
    tree.update(changes)
    path.write_text(json.dumps({key: value for key, value in tree.items() if value is not None}))


def no_config(source: Path) -> None:
    (source / "config.json").unlink()


def no_weights(source: Path) -> None:
    (source / "model.safetensors").unlink()


def pickled(source: Path) -> None:
    torch.save({}, source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()


def weights(source: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})


def one_missing(source: Path) -> None:
    weights(source, lambda tensors: tensors.pop("model.layers.0.mlp.up_proj.weight"))


def one_more(source: Path) -> None:
    weights(source, lambda tensors: tensors.update({"model.layers.9.extra": torch.ones(2)}))


def another_shape(source: Path) -> None:
    weights(source, lambda tensors: tensors.update({"model.norm.weight": torch.ones(7)}))


def truncated(source: Path) -> None:
    whole = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def missing_shard(source: Path) -> None:
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    (source / "model.safetensors").rename(source / "model-00001-of-00002.safetensors")


def shard_elsewhere(source: Path) -> None:
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "../other/model.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))


def not_a_number(source: Path) -> None:
    weights(source, lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))


def pickled_shard(source: Path) -> None:
    torch.save({}, source / "state.bin")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "state.bin"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))


def larger_tokenizer(source: Path) -> None:
    tokenizer = bare_tokenizer(eos_token="<|endoftext|>")
    tokenizer.add_tokens([f"word{number}" for number in range(40)])
    tokenizer.save_pretrained(source)


def no_eos(source: Path) -> None:
    bare_tokenizer().save_pretrained(source)


def no_tokenizer(source: Path) -> None:
    for path in source.glob("tokenizer*"):
        path.unlink()


BAD = {
    "no config": (no_config, "there is no config.json"),
    "unknown type": (lambda s: edit(s, "config.json", model_type="lama"), "model_type"),
    "unknown architecture": (
        lambda s: edit(s, "config.json", architectures=["LlamaForQuestionAnswering"]),
        "ForQuestionAnswering",
    ),
    "no weights": (no_weights, "no safetensors"),
    "pickled": (pickled, "temper convert"),
    "missing weight": (one_missing, "missing: model.layers.0.mlp.up_proj.weight"),
    "extra weight": (one_more, "unexpected: model.layers.9.extra"),
    "another shape": (another_shape, "model.norm.weight [7] for [32]"),
    "truncated": (truncated, "cannot be read"),
    "missing shard": (missing_shard, "model-00002-of-00002.safetensors"),
    "shard elsewhere": (shard_elsewhere, "in another folder"),
    "NaN": (not_a_number, "NaN or infinity in model.norm.weight"),
    "pickled shard": (pickled_shard, "is not safetensors"),
    "config is a list": (lambda s: (s / "config.json").write_text("[]"), "does not hold a mapping"),
    "contradiction": (lambda s: edit(s, "config.json", num_attention_heads="two"), "num_attention_heads"),
    "larger tokenizer": (larger_tokenizer, "embeddings for"),
    "no EOS": (no_eos, "no EOS"),
    "no tokenizer": (no_tokenizer, "no tokenizer"),
    "adapter": (lambda s: (s / "adapter_config.json").write_text("{}"), "only an adapter"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_models_are_refused_at_the_door(case: str, store: Any, tmp_path: Path) -> None:
    change, said = BAD[case]
    source = outside(tmp_path / "llama")
    change(source)
    with pytest.raises(UserError) as caught:
        adopted(source, store)
    assert said in str(caught.value)
    assert not list(store.folders())


def test_a_classifier_of_several_classes_is_no_reward_model(store: Any, tmp_path: Path) -> None:
    source = outside(tmp_path / "llama", scorer=True, num_labels=3)
    with pytest.raises(UserError, match="3 outputs"):
        adopted(source, store)


REMOTE = """
from transformers import LlamaConfig, LlamaForCausalLM
open({marker!r}, "w").close()
class OddConfig(LlamaConfig):
    model_type = "odd"
class OddForCausalLM(LlamaForCausalLM):
    config_class = OddConfig
"""


def test_code_that_comes_with_a_model_runs_only_where_it_is_trusted(store: Any, tmp_path: Path) -> None:
    from tempering.models.adapters import trainable_lm

    source, marker = outside(tmp_path / "odd"), tmp_path / "it-ran"
    (source / "odd.py").write_text(REMOTE.format(marker=str(marker)))
    auto = {"AutoConfig": "odd.OddConfig", "AutoModelForCausalLM": "odd.OddForCausalLM"}
    edit(source, "config.json", auto_map=auto, architectures=["OddForCausalLM"], model_type="odd")
    with pytest.raises(UserError, match="trust_remote_code"):
        adopted(source, store)
    assert not marker.exists()
    made = adopted(source, store, trust_remote_code=True)
    assert marker.exists()
    assert made.trusts_remote_code
    assert type(trainable_lm(made, None, 0)).__name__ == "OddForCausalLM", "later stages load it too"


def test_code_that_comes_with_a_tokenizer_is_not_asked_about(tmp_path: Path) -> None:
    """transformers asks on the terminal, and a chat's first line would be the answer."""
    import subprocess
    import sys

    source, marker = outside(tmp_path / "evil"), tmp_path / "it-ran"
    (source / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass EvilTok: pass\n")
    own = {"AutoTokenizer": [None, "evil.EvilTok"]}
    edit(source, "tokenizer_config.json", tokenizer_class="EvilTok", auto_map=own)
    command = [
        sys.executable,
        "-m",
        "flows.cli.main",
        "chat",
        str(source),
        "--store",
        str(tmp_path / "store"),
    ]
    done = subprocess.run(command, input="y\ny\n", text=True, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    assert not marker.exists()


def test_a_folder_that_changes_while_it_is_adopted_is_refused(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tempering.exchange import adopt

    source = outside(tmp_path / "llama")
    original = adopt.check_folder

    def change_then_check(*arguments: Any) -> Any:
        weights(source, lambda tensors: tensors.update({k: v * 7 for k, v in tensors.items()}))
        return original(*arguments)

    monkeypatch.setattr(adopt, "check_folder", change_then_check)
    with pytest.raises(UserError, match="changed while"):
        adopted(source, store)


@pytest.mark.slow
def test_stages_start_from_a_model_that_exists(tmp_path: Path, tiny_store: Any) -> None:
    """SFT with LoRA on a held-down base, and RLOO from the base model itself, by one line each."""
    source = outside(tmp_path / "base", "qwen2")
    nodes = tiny_nodes({
        "models": {"base": str(source)},
        "tokenizer": {"kind": "existing", "name_or_path": "base"},
        "pretrain": None, "dpo": None, "ppo": None, "sft.model": "base",
        "sft.adapter": {"rank": 4, "base_weights": "bf16"}, "sft.max_steps": 3,
        "samples.sft.max_length": 400, "samples.prompts.max_length": 200,
        "rloo.model": "base", "rloo.reward": {"kind": "random"}, "rloo.token_limit": 500,
        "reward_model": None, "evaluate": None, "report": None,
    })  # fmt: skip
    made: dict[str, Any] = {}
    merged = run_nodes(tiny_store, nodes, "merge[sft]", made)
    rloo = run_nodes(tiny_store, nodes, "rloo", made)
    assert merged.manifest.inputs["base"].id == made["adopt[base]"].id == rloo.manifest.inputs["model"].id
    assert merged.details["tokenizer"] == made["adopt[base]"].details["tokenizer"]


def test_names_that_mean_nothing_are_refused_with_the_nearest() -> None:
    for changes, said in (
        ({"sft.model": "base", "models": {"bass": "./x"}}, "bass"),
        ({"sft.model": "pretain"}, "pretrain"),
        ({"models": {"sft": "./x"}}, "name of a stage"),
        ({"evaluate.models": ["sftt"]}, "sft"),
    ):
        with pytest.raises(UserError) as caught:
            tiny_nodes(changes)
        assert said in str(caught.value)


def test_the_command_line_adopts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli.main import main

    source, where = outside(tmp_path / "llama"), ["--store", str(tmp_path / "store")]
    assert main(["artifacts", "adopt", str(source), "--as", "sft", *where]) == 0
    shown = capsys.readouterr()
    assert "pad token set" in shown.err
    assert main(["artifacts", "show", "sft@latest", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == shown.out.strip()
    shutil.rmtree(source)
    assert main(["artifacts", "adopt", f"{source}/", "--as", "sft", *where]) == 2
    assert "is not a folder" in capsys.readouterr().err
    scorer = outside(tmp_path / "scorer", scorer=True)
    assert main(["artifacts", "adopt", str(scorer), "--as", "sft", *where]) == 2
    assert "is a reward model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "merge-sft/x__2026-11-25__08-00-00__0123abcd",
        "store/sft/x__2026-11-25__08-00-00__0123abcd-2",
        "adopt-base/x__2026-11-25__08-00-00__0123abcd/checkpoint_1K_tokens",
        "sft@latest",
        "0123abcd",
    ],
)
def test_names_of_artifacts_are_looked_up_in_the_store(name: str) -> None:
    from flows.graph import Ref

    node = next(node for node in tiny_nodes({"sft.model": name}) if node.name == "sft")
    assert node.inputs["model"] == Ref(name)


def test_where_a_model_lies_is_no_part_of_what_is_made_from_it(tmp_path: Path) -> None:
    from tempering.config import identity

    source = outside(tmp_path / "alice" / "base")
    nodes = tiny_nodes({"sft.model": str(source), "evaluate.models": [str(source)]})
    by_name = {node.name: node for node in nodes}
    assert "evaluate[base]" in by_name
    assert by_name["sft"].inputs["model"] == "adopt[base]"
    assert "alice" not in str(identity(by_name["sft"].config))
    assert "alice" not in str(identity(by_name["evaluate[base]"].config))


def test_a_value_model_is_never_made_up(tmp_path: Path) -> None:
    from tempering.errors import ArtifactError
    from tempering.onpolicy.value import ValueModel

    source = outside(tmp_path / "llama")
    one_missing(source)
    with pytest.raises(ArtifactError, match="missing"):
        ValueModel.from_folder(source)


def test_a_repository_on_the_hub_gives_a_stage_of_its_own() -> None:
    nodes = {
        node.name: node
        for node in tiny_nodes({"pretrain.hub_repo": "me/mine", "sft.adapter": {}, "sft.hub_repo": "me/sft"})
    }
    assert nodes["publish[pretrain]"].inputs == {"model": "pretrain", "evaluation": "evaluate[pretrain]"}
    assert nodes["publish[sft]"].inputs["model"] == "merge[sft]", "a whole model"
    assert "publish[dpo]" not in nodes


def test_a_judge_that_nothing_needs_is_refused() -> None:
    changes = {"evaluate.reward_model": "models/judge", "evaluate.benchmarks": {}, "models": {}}
    with pytest.raises(ConfigError, match="nothing reads it without judged benchmarks"):
        tiny_nodes(changes)
