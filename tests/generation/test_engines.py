"""The contract of the rollout engines: one set of tests for all, on tiny models."""

import os
import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from scipy.stats import chi2

from tempering.errors import ConfigError
from tempering.generation.engines.build import build_engine
from tempering.generation.engines.config import DecoderEngine, TransformersEngine, VLLMEngine
from tempering.generation.engines.vllm_engine import logprobs_modes
from tempering.generation.engines.wrapping import named_weights
from tempering.generation.logprobs import completion_logprobs
from tempering.generation.rollout import Rollout
from tempering.generation.sampling import Sampling
from tempering.onpolicy.actor_critic import ActorCritic
from tests.forked import Forks
from tests.generation.vllm_stand_in import StandIn, pretend_vllm, serving
from tests.models.test_families import language_model
from tests.onpolicy.small import ENDS, EOS, PAD, VOCABULARY, policy

PROMPTS = [[5, 9, 11, 7], [8, 6], [8, 6], [12, 5, 9], [3], [8, 6], [7, 3, 3, 4, 9, 2]]
LENGTH = 8
CASES = [
    *[f"decoder-{family}" for family in ("llama", "gpt2", "lstm", "kgram")],
    *[f"transformers-{family}" for family in ("llama", "gpt2", "lstm", "kgram")],
    *[f"vllm-{family}" for family in ("llama", "gpt2")],
]


def gpt2(vocabulary: int = VOCABULARY) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel, set_seed

    set_seed(3)
    config = GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=64,
        vocab_size=vocabulary,
        initializer_range=0.4,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    return GPT2LMHeadModel(config).eval()


def family_model(family: str) -> Any:
    makers = {"llama": policy, "gpt2": gpt2}
    return makers[family]().eval() if family in makers else language_model(family)


class Case:
    """An engine over a tiny model."""

    def __init__(self, engine: Any, model: Any, stand_in: StandIn | None) -> None:
        self.engine, self.model, self.stand_in = engine, model, stand_in

    def roll(self, prompts: list[list[int]] = PROMPTS, seed: int = 0, **options: Any) -> Rollout:
        sampling = Sampling(**{"max_new_tokens": LENGTH, **options})
        numbers = sampling.numbers(len(prompts), torch.Generator().manual_seed(seed))
        if self.stand_in is not None:
            self.stand_in.logprobs_mode = self.engine.mode = logprobs_modes(sampling)[0]
        return self.engine.generate(prompts, sampling, numbers)


def settings(kind: str, stand_in: StandIn | None) -> Any:
    if kind == "vllm":
        assert stand_in is not None
        return VLLMEngine(kind="vllm", base_url=stand_in.url, timeout=1)
    return {"decoder": DecoderEngine(), "transformers": TransformersEngine(kind="transformers")}[kind]


@pytest.fixture(scope="module", params=CASES)
def case(request: Any) -> Iterator[Case]:
    kind, family = request.param.split("-")
    model = family_model(family)
    if kind != "vllm":
        yield Case(build_engine(settings(kind, None), model, ENDS, PAD), model, None)
        return
    with serving(StandIn(model)) as stand_in:
        with pytest.MonkeyPatch.context() as patch:
            pretend_vllm(patch, stand_in)
            engine = build_engine(settings(kind, stand_in), model, ENDS, PAD)
        yield Case(engine, model, stand_in)


def test_shapes_masks_and_ends(case: Case) -> None:
    prompts = PROMPTS * 3
    found = case.roll(prompts, temperature=2.5)
    rows, width = found.completion_ids.shape
    assert (rows, found.prompt_ids.shape[1]) == (len(prompts), 6)
    assert width <= LENGTH
    assert found.logprobs.shape == found.completion_mask.shape == (rows, width)
    assert found.completion_mask.dtype == found.ended.dtype == torch.bool
    assert found.logprobs.dtype == torch.float32
    asked = zip(found.prompt_ids, found.prompt_mask, strict=True)
    assert [ids[mask == 1].tolist() for ids, mask in asked] == prompts
    assert found.prompt_mask[:, -1].all(), "padded on the left"
    assert 0 < int(found.ended.sum()) < rows, "some end here, some do not"
    for row, tokens in enumerate(found.tokens()):
        assert bool(found.ended[row]) == (tokens[-1] in ENDS)
        assert not set(tokens[:-1]) & set(ENDS)
        assert found.ended[row] or len(tokens) == LENGTH
    outside = ~found.completion_mask
    assert (found.completion_ids[outside] == PAD).all()
    assert (found.logprobs[outside] == 0).all()
    assert (found.logprobs[found.completion_mask] < 0).all()


def test_greedy_equals_generate_token_for_token(case: Case) -> None:
    for options in ({}, {"repetition_penalty": 1.4}, {"min_new_tokens": 4}):
        ours = case.roll(temperature=0, **options)
        theirs = case.model.generate(
            input_ids=ours.prompt_ids,
            attention_mask=ours.prompt_mask,
            max_new_tokens=LENGTH,
            do_sample=False,
            eos_token_id=ENDS,
            pad_token_id=PAD,
            **options,
        )[:, ours.prompt_ids.shape[1] :]
        assert ours.completion_ids.tolist() == theirs.tolist()


def test_a_row_says_the_same_whoever_is_beside_it(case: Case) -> None:
    together = case.roll(temperature=0, repetition_penalty=1.2)
    for row, prompt in enumerate(PROMPTS):
        alone = case.roll([prompt], temperature=0, repetition_penalty=1.2)
        assert alone.tokens()[0] == together.tokens()[row]
        assert bool(alone.ended[0]) == bool(together.ended[row])


FILTERS = {"top_k": 9, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.4, "min_new_tokens": 3}


@pytest.mark.parametrize("options", [{"temperature": 0.7}, FILTERS], ids=["temperature", "filters"])
def test_logprobs_are_those_of_the_temperature_scaled_full_distribution(case: Case, options: Any) -> None:
    found = case.roll(**options)
    wanted, _ = completion_logprobs(
        case.model,
        found.input_ids,
        found.attention_mask,
        found.completion_mask,
        options.get("temperature", 1.0),
    )
    torch.testing.assert_close(found.logprobs, wanted.detach(), atol=1e-4, rtol=0)
    assert (found.lengths >= options.get("min_new_tokens", 1)).all()
    assert case.engine.exact == (case.stand_in is None)


def test_the_numbers_decide(case: Case) -> None:
    torch.manual_seed(1)
    first = case.roll(temperature=2.5)
    before = torch.get_rng_state()
    again = case.roll(temperature=2.5)
    assert torch.equal(before, torch.get_rng_state()), "the global generator is left as found"
    assert first.tokens() == again.tokens()
    assert case.roll(seed=1, temperature=2.5).tokens() != first.tokens()
    same = [tokens for prompt, tokens in zip(PROMPTS, first.tokens(), strict=True) if prompt == [8, 6]]
    assert any(one != other for one, other in pairwise(same)), "equal prompts have chances of their own"


def test_dropout_is_off_and_the_mode_of_the_model_left_as_found(case: Case) -> None:
    said = []
    for mode in (True, False):
        case.model.train(mode)
        found = case.roll(max_new_tokens=3)
        assert case.model.training is mode
        said.append((found.tokens(), found.logprobs.tolist()))
    assert said[0] == said[1]


# -- the distribution --------------------------------------------------------------------------------------

SMALL, ROWS = 12, 4000


def small_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(2)
    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=SMALL,
        max_position_embeddings=16,
        initializer_range=0.5,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def allowed(
    logits: torch.Tensor, temperature: float = 1, top_k: int = SMALL, top_p: float = 1
) -> torch.Tensor:
    """What may be sampled and how likely, token by token as the definitions read."""
    shares = torch.softmax(logits.double() / temperature, -1)
    order = shares.argsort(descending=True).tolist()[:top_k]
    kept, mass, total = [], 0.0, float(shares[order].sum())
    for token in order:
        if mass <= top_p:
            kept.append(token)
        mass += float(shares[token]) / total
    found = torch.zeros_like(shares)
    found[kept] = shares[kept]
    return found / found.sum()


@torch.no_grad()
def two_tokens(model: Any, prompt: list[int], **options: Any) -> dict[tuple[int, ...], float]:
    """Every completion of at most two tokens and its probability."""
    first = allowed(model(torch.tensor([prompt])).logits[0, -1], **options)
    found = {(EOS,): float(first[EOS])}
    for token in range(SMALL):
        if token == EOS:
            continue
        second = allowed(model(torch.tensor([[*prompt, token]])).logits[0, -1], **options)
        found |= {(token, other): float(first[token] * second[other]) for other in range(SMALL)}
    return found


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.7}, {"top_k": 4}, {"top_p": 0.6, "temperature": 1.5}]
)
@pytest.mark.parametrize("kind", ["decoder", "transformers"])
def test_samples_have_the_distribution_of_the_model(kind: str, options: dict[str, Any]) -> None:
    model, prompt = small_model(), [5, 9, 3]
    engine = build_engine(settings(kind, None), model, [EOS], PAD)
    sampling = Sampling(2, **options)
    numbers = sampling.numbers(ROWS, torch.Generator().manual_seed(0))
    said = [tuple(tokens) for tokens in engine.generate([prompt] * ROWS, sampling, numbers).tokens()]
    expected = {pair: ROWS * share for pair, share in two_tokens(model, prompt, **options).items()}
    assert all(expected[pair] > 0 for pair in set(said)), "nothing that was filtered out"
    common = [pair for pair, count in expected.items() if count >= 5]
    counts = [(said.count(pair), expected[pair]) for pair in common]
    rest = (ROWS - sum(found for found, _ in counts), ROWS - sum(wanted for _, wanted in counts))
    counts += [rest] if rest[1] >= 5 else []
    statistic = sum((found - wanted) ** 2 / wanted for found, wanted in counts)
    assert len(counts) > 4
    assert statistic < chi2.ppf(0.999, len(counts) - 1)


# -- adapters, and what the model brought along ------------------------------------------------------------


def adapted(**changes: Any) -> Any:
    """A policy with an adapter that does something."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        policy(), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **changes)
    )
    return model.eval()


@pytest.mark.parametrize("kind", ["decoder", "transformers"])
def test_an_adapter_is_at_work(kind: str) -> None:
    model = adapted()
    found = Case(build_engine(settings(kind, None), model, ENDS, PAD), model, None).roll(temperature=0.7)
    wanted, _ = completion_logprobs(model, found.input_ids, found.attention_mask, found.completion_mask, 0.7)
    torch.testing.assert_close(found.logprobs, wanted.detach(), atol=1e-4, rtol=0)
    with model.disable_adapter():
        other, _ = completion_logprobs(
            model, found.input_ids, found.attention_mask, found.completion_mask, 0.7
        )
    assert (other - wanted).abs().max() > 0.1, "the adapter does something"


def test_defaults_that_came_with_the_model_change_nothing() -> None:
    model = policy().eval()
    case = Case(build_engine(settings("transformers", None), model, ENDS, PAD), model, None)
    plain = case.roll()
    model.generation_config.update(top_k=1, no_repeat_ngram_size=1, suppress_tokens=[5, 6], temperature=0.1)
    brought = model.generation_config
    assert case.roll().tokens() == plain.tokens()
    assert model.generation_config is brought


# -- the server --------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving(StandIn(policy(4))) as stand_in:
        pretend_vllm(monkeypatch, stand_in)
        yield stand_in


def test_update_sends_the_newest_weights(server: StandIn) -> None:
    model = policy()
    case = Case(build_engine(settings("vllm", server), model, ENDS, PAD), model, server)
    wanted = Case(build_engine(DecoderEngine(), model, ENDS, PAD), model, None)
    assert case.roll(temperature=0).tokens() != wanted.roll(temperature=0).tokens(), "it began with others"
    for _ in range(2):
        case.engine.update(model)
        assert case.roll(temperature=0).tokens() == wanted.roll(temperature=0).tokens()
        torch.nn.init.normal_(model.model.layers[0].mlp.down_proj.weight)
    once = ["/start_weight_update", "/update_weights", "/finish_weight_update", "/reset_prefix_cache"]
    assert server.calls == ["/init_weight_transfer_engine", *once, *once]
    assert server.names == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("changes", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_an_adapter_is_merged_into_what_is_sent_and_the_base_keeps_its_bits(
    server: StandIn, changes: Any
) -> None:
    model = adapted(**changes)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    case = Case(build_engine(settings("vllm", server), model, ENDS, PAD), model, server)
    case.engine.update(model)
    assert server.names == [name for name, _ in policy().named_parameters()]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    ids = torch.tensor([PROMPTS[0]])
    assert not model.base_model.model.model.layers[0].self_attn.q_proj.merged
    torch.testing.assert_close(server.model(ids).logits, model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


def test_what_the_server_is_asked(server: StandIn) -> None:
    model = policy()
    case = Case(build_engine(settings("vllm", server), model, ENDS, PAD), model, server)
    case.roll(top_k=5, min_p=0.1, min_new_tokens=2)
    assert len({body["seed"] for body in server.asked}) == len(PROMPTS)
    assert all(0 <= body["seed"] < 2**53 for body in server.asked)
    asked = server.asked[0]
    assert (asked["top_k"], asked["top_p"], asked["min_p"], asked["min_tokens"]) == (5, 1.0, 0.1, 2)
    assert (asked["stop_token_ids"], asked["ignore_eos"], asked["max_tokens"]) == (ENDS, True, LENGTH)


@pytest.mark.parametrize(
    ("mode", "options", "says"),
    [
        ("raw_logprobs", {"temperature": 0.7}, "processed_logprobs"),
        ("processed_logprobs", {"top_k": 5}, "raw_logprobs"),
        ("processed_logprobs", {"min_new_tokens": 1}, "raw_logprobs"),
        ("processed_logits", {}, "processed_logprobs or raw_logprobs"),
        (
            "raw_logprobs",
            {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1},
            "leave out top_p, rep",
        ),
    ],
)
def test_settings_without_the_right_logprobs_are_refused(
    server: StandIn, mode: str, options: Any, says: str
) -> None:
    server.logprobs_mode = mode
    with pytest.raises(ConfigError, match=says):
        build_engine(settings("vllm", server), policy(), ENDS, PAD, sampling=Sampling(4, **options))
    if len(options) < 2:
        late = build_engine(settings("vllm", server), policy(), ENDS, PAD)
        with pytest.raises(ConfigError, match=says):
            late.generate(PROMPTS, Sampling(4, **options), torch.zeros(len(PROMPTS), 4))
    assert not server.asked


def test_a_server_that_cannot_be_used_is_a_message(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="type lstm"):
        build_engine(settings("vllm", server), language_model("lstm"), ENDS, PAD)
    server.dev_mode = False
    with pytest.raises(ConfigError, match="VLLM_SERVER_DEV_MODE=1"):
        build_engine(settings("vllm", server), policy(), ENDS, PAD)
    nowhere = VLLMEngine(kind="vllm", base_url="http://127.0.0.1:9", timeout=0.01)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(ConfigError, match="no vLLM server at"):
        build_engine(nowhere, policy(), ENDS, PAD)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="tempering\\[vllm\\]"):
        build_engine(settings("vllm", server), policy(), ENDS, PAD)


def test_weights_that_cannot_be_sent_are_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    model = policy()
    with serving(StandIn(model)) as server:
        pretend_vllm(monkeypatch, server, joins=False)
        engine = build_engine(settings("vllm", server), model, ENDS, PAD)
        with pytest.raises(ConfigError, match="needs a CUDA device"):
            engine.update(model)
        server.weight_transfer = None
        with pytest.raises(ConfigError, match="weight-transfer-config"):
            engine.update(model)


# -- several processes -------------------------------------------------------------------------------------


def sample_in_parts() -> None:
    """Wrapped in all three ways: one start of two processes, which is what takes long."""
    for kind in ("ddp", "fsdp1", "fsdp2"):
        sample_wrapped(kind)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    os._exit(0)  # as a stage's processes end: the interpreter's own end can meet a thread of the backend's


def sample_wrapped(kind: str) -> None:
    """As one of two processes that each hold a part of an actor and critic: same samples, whole weights.

    accelerate itself shards on accelerators alone, so torch does it here and accelerate is told.
    """
    from accelerate import Accelerator, FullyShardedDataParallelPlugin
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    accelerator, model, whole = Accelerator(cpu=True), policy(), policy()
    wrapped: Any = ActorCritic(model, None, 1.0)
    layers = model.model.layers
    if kind == "ddp":
        wrapped = accelerator.prepare(wrapped)
    elif kind == "fsdp2":
        for module in (*layers, wrapped):
            fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
    else:
        wrap = ModuleWrapPolicy({type(layers[0])})
        wrapped = FullyShardedDataParallel(wrapped, device_id=torch.device("cpu"), auto_wrap_policy=wrap)
    if kind != "ddp":
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=int(kind[-1]))
    prompts = PROMPTS[:3] if accelerator.is_main_process else PROMPTS[3:]
    sampling = Sampling(LENGTH, temperature=2.5)
    numbers = sampling.numbers(len(prompts), torch.Generator().manual_seed(accelerator.process_index))
    engine = build_engine(settings("transformers", None), wrapped, ENDS, PAD, accelerator=accelerator)
    alone = build_engine(settings("transformers", None), whole, ENDS, PAD)
    for _ in range(2):
        engine.update(wrapped)
        found, wanted = (one.generate(prompts, sampling, numbers) for one in (engine, alone))
        assert found.tokens() == wanted.tokens()
        torch.testing.assert_close(found.logprobs, wanted.logprobs)
        wrapped(found.input_ids, found.attention_mask, found.completion_mask)["logprobs"].sum().backward()
    if kind != "fsdp1":
        sent = dict(named_weights(wrapped, accelerator))
        assert sent.keys() == dict(whole.named_parameters()).keys()
        assert all(torch.equal(sent[name], weight) for name, weight in whole.named_parameters())


@pytest.mark.slow
def test_a_model_in_parts_says_the_same(forks: Forks) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from tests.generation.test_engines import sample_in_parts; sample_in_parts()"
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    running = [
        forks.start(code, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    ends = [one.wait() for one in running]
    assert [end.returncode for end in ends] == [0, 0], ends
