"""Exported folders: complete, plain, the same model, nothing of this machine in them; and pushed ones."""

import getpass
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.artifacts.resolve import build
from tempering.errors import ArtifactError, UserError
from tempering.exchange.export import export_model
from tests.exchange.hub_stand_in import COMMIT, HubStandIn
from tests.exchange.toy_models import ToyStore

IDS = torch.tensor([[5, 6, 7, 8]])
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 50_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> ToyStore:
    return ToyStore(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="module")
def sft(toys: ToyStore) -> Any:
    base = toys.model("pretrain", prompt_format="plain", seed=9)
    return toys.model("sft", base, learning_rate=0.0625, more={"rope_parameters": ROPE})


def logits(folder: Path, kind: str = "AutoModelForCausalLM") -> torch.Tensor:
    import transformers

    with torch.no_grad():
        return getattr(transformers, kind).from_pretrained(folder)(IDS).logits.float()


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def test_the_folder_is_the_model_readable_and_plain(sft: Any, tmp_path: Path) -> None:
    folder = export_model(sft, tmp_path / "new" / "out")
    assert torch.equal(logits(folder), logits(sft.model_dir))
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o755


def test_transformers_4_finds_its_keys_beside_those_of_5(sft: Any, tmp_path: Path) -> None:
    folder = export_model(sft, tmp_path / "out")
    config = read(folder, "config.json")
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert config["rope_theta"] == 50_000.0
    assert config["rope_scaling"] == {key: value for key, value in ROPE.items() if key != "rope_theta"}
    tokenizer = read(folder, "tokenizer_config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["chat_template"] == (folder / "chat_template.jinja").read_text()


def test_two_ropes_become_the_keys_of_gemma_3() -> None:
    from tempering.exchange.transformers4_config import portable_config

    ropes = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    made = portable_config({"text_config": {"model_type": "gemma3_text", "rope_parameters": ropes}})
    inner = made["text_config"]
    assert (inner["rope_theta"], inner["rope_local_base_freq"]) == (1e6, 1e4)
    assert inner["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


def test_generation_settings_are_those_of_the_training(toys: ToyStore, tmp_path: Path) -> None:
    ppo = toys.model("ppo", temperature=0.7)
    found = read(export_model(ppo, tmp_path / "out"), "generation_config.json")
    tokenizer = toys.tokenizer.tokenizer_dir / "tokenizer.json"
    ids = {one["content"]: one["id"] for one in json.loads(tokenizer.read_text())["added_tokens"]}
    assert found["eos_token_id"] == ids["<|endoftext|>"]
    assert found["pad_token_id"] == ids["<|pad|>"]
    assert (found["do_sample"], found["temperature"], found["top_k"]) == (True, 0.7, 0)
    (ppo.model_dir / "generation_config.json").write_text('{"temperature": 0.3, "top_p": 0.5}')
    found = read(export_model(ppo, tmp_path / "two"), "generation_config.json")
    assert (found["temperature"], found["top_p"]) == (0.7, 0.5), "trained so, else as it came"


def test_a_base_model_gets_no_chat_template(toys: ToyStore, tmp_path: Path) -> None:
    folder = export_model(toys.model("pretrain", prompt_format="plain", seed=9), tmp_path / "out")
    assert not (folder / "chat_template.jinja").exists()
    assert "chat_template" not in read(folder, "tokenizer_config.json")
    assert "running text" in (folder / "README.md").read_text()


@pytest.mark.parametrize(("dtype", "close"), [("bf16", 0.2), ("fp16", 0.02)])
def test_other_dtypes(sft: Any, tmp_path: Path, dtype: Any, close: float) -> None:
    from safetensors.torch import load_file

    folder = export_model(sft, tmp_path / "out", dtype=dtype)
    name = {"bf16": "bfloat16", "fp16": "float16"}[dtype]
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {getattr(torch, name)}
    assert read(folder, "config.json")["dtype"] == read(folder, "config.json")["torch_dtype"] == name
    assert stored.keys() == load_file(sft.model_dir / "model.safetensors").keys()
    difference = (logits(folder) - logits(sft.model_dir)).abs().max()
    assert 0 < difference < close


def test_large_weights_are_cut_into_files(sft: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempering.exchange.export._LARGEST", 40_000)
    folder = export_model(sft, tmp_path / "out")
    shards = sorted(folder.glob("model-*-of-*.safetensors"))
    assert len(shards) > 2
    assert all(path.stat().st_size < 60_000 for path in shards)
    assert torch.equal(logits(folder), logits(sft.model_dir))


def test_a_checkpoint_is_exported_with_its_own_weights(toys: ToyStore, sft: Any, tmp_path: Path) -> None:
    checkpoint = toys.store.get(f"{sft.id}/checkpoint_1K_tokens")
    folder = export_model(checkpoint, tmp_path / "out")
    assert torch.equal(logits(folder), logits(checkpoint.model_dir))
    assert not torch.equal(logits(folder), logits(sft.model_dir))
    assert "at checkpoint_1K_tokens" in (folder / "README.md").read_text()


def test_a_reward_model_keeps_its_head(toys: ToyStore, tmp_path: Path) -> None:
    scorer = toys.model("reward_model", head="score")
    folder = export_model(scorer, tmp_path / "out")
    kind = "AutoModelForSequenceClassification"
    assert torch.equal(logits(folder, kind), logits(scorer.model_dir, kind))
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert kind in card


def test_adapters(toys: ToyStore, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = toys.model("sft")
    adapter = toys.adapter("dpo", base)
    with pytest.raises(ArtifactError, match="only an adapter") as error:
        export_model(adapter, tmp_path / "out")
    assert "merge[dpo]@latest" in error.value.fix
    with pytest.raises(ArtifactError, match="has no adapter"):
        export_model(base, tmp_path / "out", adapter=True)
    folder = export_model(adapter, tmp_path / "out", adapter=True)
    assert read(folder, "adapter_config.json")["base_model_name_or_path"] is None
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.model_dir), folder)
    with torch.no_grad():
        assert not torch.allclose(loaded(IDS).logits, logits(base.model_dir), atol=0.1)
    assert str(tmp_path.parent) not in (folder / "adapter_config.json").read_text()


def test_the_card_says_what_how_and_how_well(toys: ToyStore, sft: Any, tmp_path: Path) -> None:
    card = (export_model(sft, tmp_path / "a") / "README.md").read_text()
    assert "Not evaluated. Its own stage ended with" in card
    evaluation = toys.evaluation(sft)
    toys.evaluation(toys.model("sft", seed=4))  # newer, of another model
    card = (export_model(sft, tmp_path / "b") / "README.md").read_text()
    train, held_out = (len(toys.corpus.rows(part)) for part in ("train", "eval"))
    assert f"| corpus | text | {train} | {held_out} | world |" in card
    first, second = (line for line in card.splitlines() if re.match(r"\d\. ", line))
    assert first.startswith("1. `pretrain`: 2,000 tokens; learning_rate 0.003")
    assert second.startswith("2. `sft`: 2,000 tokens; learning_rate 0.0625")
    assert f"From `{evaluation.id}`" in card
    assert "| questions | accuracy | 0.8125 | 0.71 to 0.88 | 64 |" in card
    for artifact in (sft, toys.tokenizer, toys.corpus):
        assert f"{artifact.id} `{artifact.fingerprint[:16]}`" in card
    assert card.count("datasets.corpus: dataset-corpus") == 3, "each where it is an input"
    assert card.count(f"tokenizer: {toys.tokenizer.id}, as above") == 1
    assert "transformers 5." in card
    assert "license:" not in card
    assert "Not stated." in card


def test_nothing_of_this_machine_is_in_the_folder(sft: Any, tmp_path: Path) -> None:
    folder = export_model(sft, tmp_path / "out")
    secret = [str(tmp_path.parent), str(Path.home()), os.uname().nodename, str(sft.path.parents[1])]
    secret += [f"/{getpass.getuser()}/"]
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not [word for word in secret if len(word) > 3 and word.encode() in content], path.name


def test_own_families_say_what_they_need(sft: Any) -> None:
    from tempering.artifacts.store import Store
    from tempering.exchange.card import model_card

    card = model_card(sft, Store(sft.path.parents[1], writable=False), "lstm")
    assert "import tempering.models  # registers this architecture" in card


def test_what_is_there_is_replaced_only_when_told(sft: Any, tmp_path: Path) -> None:
    folder = export_model(sft, tmp_path / "out")
    (folder / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="already exists"):
        export_model(sft, folder)
    assert (folder / "mine.txt").exists()
    export_model(sft, folder, force=True)
    assert not (folder / "mine.txt").exists()
    other = tmp_path / "documents"
    other.mkdir()
    (other / "novel.txt").write_text("x")
    with pytest.raises(UserError, match="is not a model folder"):
        export_model(sft, other, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents", "out"]


def test_a_failure_leaves_nothing(sft: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(UserError, match="No space left"):
        export_model(sft, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# -- pushing -------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[HubStandIn]:
    hub = HubStandIn()
    yield hub
    hub.close()


def push(
    hub: HubStandIn, code: str, *arguments: Any, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run `code` with the hub's own client talking to the stand-in: it reads its settings when imported."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub.token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_VERBOSITY": "debug",
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", *map(str, arguments)],
        env=kept | {key: value for key, value in settings.items() if value},
        capture_output=True,
        text=True,
        timeout=60,
    )


# By its file: the package around it imports torch, which nine processes need not wait for.
PUSH = """
import logging, runpy
from pathlib import Path
import tempering
from tempering.errors import UserError
push_folder = runpy.run_path(str(Path(tempering.__file__).parent / "exchange" / "push.py"))["push_folder"]
logging.basicConfig(level=logging.DEBUG)
try:
    print(push_folder(Path(sys.argv[1]), sys.argv[2], private=sys.argv[3:] != ["public"], message="m"))
except UserError as error:
    sys.exit(f"error: {error}")
"""


def test_every_byte_arrives_and_the_token_goes_nowhere_else(
    hub: HubStandIn, sft: Any, tmp_path: Path
) -> None:
    folder = export_model(sft, tmp_path / "out")
    hub.token = "hf_VerySecret123"
    done = push(hub, PUSH, folder, "ada/toy", HF_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert hub.repos == {"ada/toy": {path.name: path.read_bytes() for path in folder.iterdir()}}
    assert hub.private == {"ada/toy": True}
    assert hub.messages == ["m"]
    assert f"commit='{COMMIT}'" in done.stdout
    assert "files=7" in done.stdout
    said = done.stdout + done.stderr
    assert "hf_VerySecret123" not in said
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hf_VerySecret123" not in path.read_bytes(), path
    sent = {one.get("authorization", one.get("Authorization")) for one in hub.headers}
    assert sent <= {"Bearer hf_VerySecret123", None}
    assert not any("VerySecret" in line for line in hub.asked)


def test_pushing_again_removes_weights_that_are_no_longer_there(hub: HubStandIn, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"new")
    hub.repos["ada/toy"] = {
        "model-00001-of-00002.safetensors": b"old",
        "model.safetensors.index.json": b"{}",
        "notes.md": b"mine",
    }
    done = push(hub, PUSH, folder, "ada/toy")
    assert done.returncode == 0, done.stderr[-3000:]
    assert hub.repos["ada/toy"] == {"notes.md": b"mine", "model.safetensors": b"new"}


@pytest.mark.parametrize(
    ("fail", "environment", "said"),
    [
        ({}, {"HF_TOKEN": "hf_wrong"}, "set HF_TOKEN to a new one"),
        ({}, {"HF_TOKEN": ""}, "there is no token"),
        ({}, {"HF_HUB_OFFLINE": "1"}, "unset HF_HUB_OFFLINE"),
        ({"/api/repos/create": (403, "You don't have the rights")}, {}, "write access"),
        ({"/commit/": (403, "Forbidden")}, {}, "a token that may write for ada"),
        ({"/commit/": (413, "too large for your plan")}, {}, "too large for your plan"),
        ({}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
    ids=["wrong", "none", "offline", "create", "commit", "quota", "network"],
)
def test_refusals_say_what_to_do(
    hub: HubStandIn, tmp_path: Path, fail: Any, environment: dict[str, str], said: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    hub.fail = fail
    done = push(hub, PUSH, folder, "ada/toy", HF_HOME=str(tmp_path / "home"), **environment)
    assert done.returncode == 1, done.stderr[-3000:]
    message = done.stderr[done.stderr.rindex("error: ") :]
    assert said in message
    assert "hf_" not in message.replace("HF_", "")
    assert "Traceback" not in done.stderr
    assert not hub.repos.get("ada/toy")


def test_names_that_no_hub_takes(tmp_path: Path) -> None:
    from tempering.exchange.push import check_push

    for name in ("toy", "ada/to y", "ada/toy/more", "../toy"):
        with pytest.raises(UserError, match="cannot be the name"):
            check_push(name)
    with pytest.raises(
        UserError, match="HF_HUB_OFFLINE is set"
    ):  # as it is for all tests: said before any work
        check_push("ada/toy")


def test_the_publish_stage_leaves_a_receipt_and_no_second_copy(toys: ToyStore, monkeypatch: Any) -> None:
    import tempering.exchange.push as pushing
    from tasks.publish import PublishConfig, publish

    model = toys.model("sft")
    arrived: list[Any] = []

    def stand_in(folder: Path, repo: str, *, private: bool, message: str) -> Any:
        arrived.append((sorted(path.name for path in folder.iterdir()), repo, private, message))
        if len(arrived) == 1:
            raise UserError("the Hub answered 503")
        return pushing.Pushed(repo, COMMIT, f"https://hub/{repo}", 7)

    monkeypatch.setattr(pushing, "check_push", lambda repo: None)
    monkeypatch.setattr(pushing, "push_folder", stand_in)
    config = PublishConfig(repo="ada/toy")
    with pytest.raises(UserError, match="503"):
        build(toys.store, publish, config, {"model": model}, node="publish[sft]")
    assert toys.store.get(model.id).payload_digest == model.payload_digest, "the model is not lost"
    made = build(toys.store, publish, config, {"model": model}, node="publish[sft]")
    assert made.read("published").to_dict("records") == [
        {"repo": "ada/toy", "commit": COMMIT, "url": "https://hub/ada/toy", "files": 7}
    ]
    assert arrived[1][1:] == ("ada/toy", True, model.id)
    assert "model.safetensors" in arrived[1][0]
    assert not list(made.path.rglob("*.safetensors"))
    assert build(toys.store, publish, config, {"model": model}, node="publish[sft]") == made
    assert len(arrived) == 2, "pushed once"
