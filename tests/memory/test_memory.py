"""The memory estimate: parts against hand-worked numbers, and the whole against a measured peak."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from flows.build import build_graph
from flows.cli.memory_inputs import longest_row
from flows.cli.memory_view import Memory
from flows.config import PipelineConfig
from flows.graph import Node
from flows.plan import plan
from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.stage import Stage
from tempering.artifacts.store import Store
from tempering.config import Config
from tempering.errors import ArtifactError, ConfigError
from tempering.memory.estimate import estimate
from tempering.memory.models import NF4_BYTES, FromArchitecture, FromFolder
from tempering.memory.parts import BASE, HOLES, Estimate, Inputs
from tempering.memory.steps import cache_bytes
from tempering.memory.trace import Tally, shapes_only
from tempering.model_config import KGramConfig, LoraConfig, LSTMConfig, TransformerConfig
from tempering.onpolicy.config import PPOConfig, RLOOConfig
from tempering.runtime import RuntimeConfig
from tempering.training.config import DPOConfig, PretrainConfig, RewardModelConfig, SFTConfig
from tempering.validation import validate

LAYERS, WIDTH, INNER, VOCABULARY, HEADS = 2, 8, 16, 20, 2
SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
}
LINEAR = LAYERS * (4 * 8 * 8 + 3 * 8 * 16)  # q, k, v, o and the three of the MLP
REST = 20 * 8 + (2 * LAYERS + 1) * 8  # embeddings, tied with the head, and the norms
PARAMETERS = LINEAR + REST  # 1480
ROPE = 2 * 2 * 4  # inverse frequencies, and as they were at first: head width 4, half of it, fp32
MODEL = FromArchitecture(TransformerConfig(overrides=SHAPE), VOCABULARY)
LORA: Any = {"kind": "lora", "rank": 2, "target_modules": ["q_proj", "v_proj"]}
ADAPTER = LAYERS * 2 * (2 * 8 + 8 * 2)


def of(config: Any, length: int = 32, **more: Any) -> Estimate:
    return estimate(config, Inputs(MODEL, length, **more))


class TestParts:
    def test_weights_gradients_and_moments_of_a_whole_model(self) -> None:
        found = of(PretrainConfig(batch_size=4))
        assert PARAMETERS == 1480
        assert (found.parameters, found.trainable) == (PARAMETERS, PARAMETERS)
        assert found.weights == 4 * PARAMETERS + ROPE
        assert found.gradients == 4 * PARAMETERS
        assert found.optimizer == 8 * PARAMETERS

    @pytest.mark.parametrize(
        ("held", "base"),
        [
            ("fp32", 4 * PARAMETERS),
            ("bf16", 2 * PARAMETERS),
            ("nf4", int(LINEAR * NF4_BYTES) + 4 * REST),
        ],
    )
    def test_an_adapter_on_a_frozen_base(self, held: str, base: int) -> None:
        found = of(SFTConfig(batch_size=4, adapter=LoraConfig(**LORA, base_weights=held)))  # type: ignore[arg-type]
        assert (found.parameters, found.trainable) == (PARAMETERS + ADAPTER, ADAPTER)
        assert found.weights == base + 4 * ADAPTER + ROPE
        assert (found.gradients, found.optimizer) == (4 * ADAPTER, 8 * ADAPTER)

    def test_the_reward_models_head_is_trained_beside_its_adapter(self) -> None:
        found = of(RewardModelConfig(batch_size=4, adapter=LORA))
        assert found.trainable == ADAPTER + WIDTH

    def test_rloo_holds_policy_reference_and_reward_model(self) -> None:
        config = RLOOConfig(batch_size=4, rollout_batch_size=8, max_new_tokens=16)
        found = of(config, reward_models={"model": MODEL})
        assert found.weights == found.reference == 4 * PARAMETERS + ROPE
        assert found.reward_model == 4 * (PARAMETERS + WIDTH) + ROPE
        assert found.kv_cache == 2 * LAYERS * 8 * WIDTH * (32 + 16) * 4
        assert set(found.phases) == {"update", "optimizer", "rollout", "comparing", "scoring"}

    def test_ppo_has_a_value_model_and_an_adapter_no_reference(self) -> None:
        config = PPOConfig(batch_size=4, rollout_batch_size=8, adapter=LORA)
        found = of(config, reward_models={"model": MODEL})
        assert found.reference == 0
        assert found.trainable == 2 * ADAPTER + WIDTH + 1
        assert found.weights == 2 * (4 * PARAMETERS + 4 * ADAPTER + ROPE) + 4 * (WIDTH + 1)

    def test_every_component_that_is_a_model_counts(self) -> None:
        parts = {"a": {"kind": "model"}, "b": {"kind": "model"}, "c": {"kind": "teacher", "model": "sft"}}
        reward: Any = {"kind": "mixture", "components": parts}
        config = PPOConfig(batch_size=4, rollout_batch_size=8, reward=reward)
        found = of(config, reward_models=dict.fromkeys("abc", MODEL))
        assert found.reward_model == 2 * (4 * (PARAMETERS + WIDTH) + ROPE) + 4 * PARAMETERS + ROPE

    def test_a_reward_function_needs_no_model(self) -> None:
        config = PPOConfig(batch_size=4, rollout_batch_size=8, reward={"kind": "random"})  # type: ignore[arg-type]
        assert of(config).reward_model == 0

    def test_dpo_computes_its_reference_before_and_keeps_no_copy(self) -> None:
        found = of(DPOConfig(batch_size=64, micro_batch_size=1))
        assert found.reference == 0
        assert found.peak == "reference", "32 pairs forward take more than one pair forward and backward"

    def test_dpo_holds_a_reference_that_is_another_model(self) -> None:
        config = DPOConfig(batch_size=4)
        alone, beside = of(config), of(config, reference=MODEL)
        assert beside.reference == 4 * PARAMETERS + ROPE
        assert beside.total == alone.total + beside.reference

    def test_the_total_is_the_highest_phase_with_what_rests(self) -> None:
        found = of(PretrainConfig(batch_size=4))
        resting = found.weights + found.optimizer + found.other + found.allocator
        assert found.phases["optimizer"] == resting + found.gradients
        assert found.total == found.phases[found.peak] == max(found.phases.values())
        assert found.other == BASE
        assert found.allocator == pytest.approx(HOLES * found.activations, rel=0.1)
        assert found.row()["total"] == found.total

    def test_a_gpu_has_no_holes_and_half_the_activations_in_bf16(self) -> None:
        config = PretrainConfig(batch_size=16, precision="bf16")
        assert of(config, on_gpu=True).allocator == 0
        assert of(config).activations < of(PretrainConfig(batch_size=16)).activations


class TestActivations:
    def test_twice_the_micro_batch_twice_the_activations(self) -> None:
        small, large = (of(PretrainConfig(batch_size=size)).activations for size in (8, 16))
        assert large == pytest.approx(2 * small, rel=0.03)

    def test_micro_batches_bring_them_down_and_add_gradients(self) -> None:
        whole = of(SFTConfig(batch_size=16))
        cut = of(SFTConfig(batch_size=16, micro_batch_size=4))
        one = of(SFTConfig(batch_size=4))
        assert cut.activations < 0.35 * whole.activations
        above = cut.phases["update"] - cut.allocator - one.phases["update"] + one.allocator
        assert 0.9 * one.gradients < above <= one.gradients, "the sum of the gradients so far is there"

    def test_checkpointing_brings_them_down(self) -> None:
        kept = of(PretrainConfig(batch_size=16))
        recomputed = of(PretrainConfig(batch_size=16, gradient_checkpointing=True))
        assert recomputed.activations < 0.7 * kept.activations

    def test_held_out_rows_are_a_phase_of_their_own(self) -> None:
        config = PretrainConfig(batch_size=1)
        found = of(config, held_out=True)
        assert "held-out rows" not in of(config).phases
        assert found.peak == "held-out rows", "32 rows with all logits, against one that is trained on"

    def test_a_tally_counts_storages_while_they_live(self) -> None:
        with shapes_only():
            layer = torch.nn.Linear(10, 10, bias=False)
            rows = torch.empty(5, 10)
            with Tally(layer) as tally:
                product = layer(rows)  # 5 x 10 floats
                view = product.view(-1)  # the same storage
                assert tally.live == 200
                power = view.exp()
                assert tally.live == 400
                del product, view
                assert tally.live == 200, "exp keeps its result alone"
                power.sum().backward()
                del power
                assert tally.live == tally.gradients == 400
                assert tally.peak >= 800
                assert tally.peak_without_gradients >= tally.peak - 400

    @pytest.mark.parametrize(("rows", "length", "width", "hidden"), [(4, 32, 64, 100), (8, 64, 128, 144)])
    def test_the_workspace_of_an_lstm(self, rows: int, length: int, width: int, hidden: int) -> None:
        start = torch.zeros(1, rows, hidden)
        weights = [torch.zeros(4 * hidden, side) for side in (width, hidden)] + [torch.zeros(4 * hidden)] * 2

        def run() -> int:
            inputs = torch.zeros(rows, length, width, requires_grad=True)
            with Tally() as tally:
                made = torch.lstm(inputs, (start, start), weights, True, 1, 0.0, True, False, True)
            assert made[0].shape == (rows, length, hidden)
            return tally.live

        real = run()
        with shapes_only():
            start = torch.zeros(1, rows, hidden)
            weights = [torch.zeros(one.shape) for one in weights]
            assert run() == pytest.approx(real, rel=0.1)

    def test_a_cache_of_any_make(self) -> None:
        class Layer:
            def __init__(self) -> None:
                self.keys = self.values = torch.zeros(3)  # one tensor, counted once
                self.state = [torch.zeros(2, dtype=torch.bfloat16)]

        assert cache_bytes({"layers": [Layer()]}) == 12 + 4


class TestCommand:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        from tests.tiny import PIPELINE

        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(PIPELINE))
        return path

    def temper(self, capfd: Any, *arguments: Any) -> str:
        from flows.cli.main import main

        capfd.readouterr()
        assert main([str(word) for word in arguments]) == 0
        return str(capfd.readouterr().out)

    def test_every_training_stage_has_an_estimate(self, config: Path, tmp_path: Path, capfd: Any) -> None:
        out = self.temper(capfd, "plan", config, "--memory", "--json", "--store", tmp_path / "store")
        memory = {row["stage"]: row["memory"] for row in json.loads(out)}
        trained = [name for name, found in memory.items() if found]
        assert sorted(trained) == ["dpo", "ppo", "pretrain", "reward_model", "rloo", "sft"]
        assert all(memory[name]["problem"] is None and memory[name]["total"] > BASE for name in trained)
        # 192 is the sample's max_length; the vocabulary is 400 until the tokenizer is there
        assert "rows of at most 192 tokens, until the sample is made" in memory["sft"]["notes"]
        assert "held-out rows" in memory["sft"]["phases"], "demonstrations hold some out"
        assert memory["sft"]["parameters"] == memory["pretrain"]["parameters"] == 400 * 32 + 2 * 10304 + 32

    def test_a_model_that_cannot_be_inspected_is_a_row(
        self, config: Path, tmp_path: Path, capfd: Any
    ) -> None:
        odd = tmp_path / "odd"
        odd.mkdir()
        (odd / "config.json").write_text('{"model_type": "nobody-knows"}')
        (odd / "model.safetensors").touch()
        out = self.temper(
            capfd, "plan", config, f"sft.model={odd}", "--memory", "--store", tmp_path / "store"
        )
        lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
        assert "cannot be estimated" in next(
            line for line in out.splitlines() if line.startswith("sft ") and "?" in line
        )
        assert "cannot be inspected" in out
        assert lines["pretrain"].count("MB") > 4, "the others have theirs"

    def test_planning_without_the_flag_imports_no_torch(self, config: Path, tmp_path: Path) -> None:
        code = (
            "import sys, flows.cli.memory_view; from flows.cli.main import main; "
            f"main(['plan', {str(config)!r}, '--store', {str(tmp_path / 'store')!r}]); "
            "print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False"


class TestFreeGraph:
    def planned(self, nodes: list[Node], root: Path) -> Any:
        store = Store(root)
        runtime = RuntimeConfig(device="cpu")
        return SimpleNamespace(nodes=nodes, rows=plan(nodes, store), store=store, runtime=runtime)

    def test_stages_and_tokenizers_may_have_any_name(self, tmp_path: Path) -> None:
        from tests.tiny import PIPELINE

        tree = copy.deepcopy(PIPELINE)
        tree["samples"]["prompts"]["max_prompt_length"] = 20  # which bounds rollouts alone
        nodes = build_graph(validate(PipelineConfig, tree, "tiny"))
        names = {"pretrain": "first", "rloo": "grpo", "tokenizer": "words", "sample[prompts]": "questions"}

        def renamed(source: Any) -> Any:
            if isinstance(source, dict):
                return {key: renamed(each) for key, each in source.items()}
            return names.get(source, source)

        others = [replace(node, name=renamed(node.name), inputs=renamed(node.inputs)) for node in nodes]
        before = {row.stage: row for row in Memory.of(self.planned(nodes, tmp_path)).rows}
        after = {row.stage: row for row in Memory.of(self.planned(others, tmp_path)).rows}
        assert after.keys() == {renamed(name) for name in before}
        assert all(after[renamed(name)].row() == row.row() for name, row in before.items())
        assert after["grpo"].estimate is not None

    def test_a_stage_without_an_estimate_says_so_and_stops_nothing(self, tmp_path: Path) -> None:
        toy = Stage("toy", 1, ModelArtifact, Toy, {}, True, False, lambda out, config: {})
        (row,) = Memory.of(self.planned([Node("mine", toy, Toy())], tmp_path)).rows
        assert (row.stage, row.estimate, row.problem) == ("mine", None, "Toy has no memory estimate")
        with pytest.raises(ConfigError, match="PretrainConfig, SFTConfig"):
            of(Toy())

    def test_a_config_that_extends_another_has_its_estimate(self) -> None:
        class Mine(SFTConfig):
            extra: int = 1

        assert of(Mine(batch_size=4)) == of(SFTConfig(batch_size=4))


class Toy(Config):
    """Of a stage that trains in its own way."""


class TestSources:
    def test_the_longest_row_of_a_sample(self, tmp_path: Path) -> None:
        from tempering.artifacts.kinds import SampleArtifact
        from tempering.artifacts.manifest import Manifest
        from tempering.data.rows import RowType
        from tempering.data.schemas import token_schema
        from tempering.data.shards import ShardWriter, writing

        writer = ShardWriter(tmp_path / "rows" / "train", token_schema(RowType.PREFERENCE))
        with writing(rows=writer):
            for prompt, chosen, rejected in ((3, 4, 9), (6, 5, 1)):
                sides = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
                writer.add({name: [1] * count for name, count in sides.items()} | {"num_tokens": 1})
        manifest = Manifest(stage="sample", kind="sample", id="a/b", fingerprint="0")
        assert longest_row(SampleArtifact(tmp_path, manifest)) == 12

    def test_a_folder_gives_the_same_shape_as_the_architecture(self, tmp_path: Path) -> None:
        with torch.device("meta"):
            MODEL.hf_config().save_pretrained(tmp_path)
        found = estimate(SFTConfig(batch_size=4), Inputs(FromFolder(tmp_path), 32))
        assert found == of(SFTConfig(batch_size=4))

    def test_a_folder_without_a_config(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="cannot be inspected"):
            estimate(SFTConfig(), Inputs(FromFolder(tmp_path), 32))

    def test_an_architecture_without_a_score_head(self) -> None:
        model = FromArchitecture(TransformerConfig(model_type="codegen"), VOCABULARY)
        with pytest.raises(ArtifactError, match="cannot be gone through"):
            estimate(RewardModelConfig(batch_size=1), Inputs(model, 8))

    @pytest.mark.parametrize("architecture", [LSTMConfig(kind="lstm"), KGramConfig(kind="kgram")])
    def test_our_own_families(self, architecture: Any) -> None:
        model = FromArchitecture(architecture, VOCABULARY)
        config = PPOConfig(batch_size=4, rollout_batch_size=8, adapter={"kind": "lora", "rank": 2})  # type: ignore[arg-type]
        found = estimate(config, Inputs(model, 16, reward_models={"model": model}))
        state = {"lstm": 2 * 2 * 144, "kgram": 23 * 48}[architecture.kind]  # h and c of each layer; tokens
        assert found.kv_cache == 8 * state * 4
        assert found.activations > found.kv_cache


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages of the smallest size are given."""
    from benchmarks.model_memory import SIZES, prepare

    folder = tmp_path_factory.mktemp("nano")
    prepare(SIZES["nano"], folder)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("trainer", ["sft", "ppo"])
def test_the_estimate_holds_against_the_measured_peak(trainer: str, made_up: Path) -> None:
    from benchmarks.model_memory import SIZES, estimated, in_child

    case = SIZES["nano"].case(trainer, {})
    measured = in_child(case, made_up)["bytes"]
    assert estimated(case).total == pytest.approx(measured, rel=0.25)
