"""The families `lstm` and `kgram`: padding, state, causality, heads, adapters, and their way to disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, set_seed

from tempering.generation.decoder import Decoder
from tempering.generation.logprobs import completion_logprobs
from tempering.generation.sampling import Sampling
from tempering.model_config import LoraConfig
from tempering.models.families import FAMILIES, KGramModelConfig, LSTMModelConfig
from tempering.models.reading import position_ids

EOS, PAD, K = 1, 0, 4
SIZES = {
    "lstm": {"state_size": 24},
    "kgram": {"context_size": K, "token_size": 8, "intermediate_size": 48},
}
IDS = torch.tensor([[5, 9, 11, 7, 3, 2, 8, 6], [8, 6, 4, 4, 5, 5, 12, 9], [7, 7, 3, 20, 21, 9, 2, 5]])
MASKS = {
    "left": [[0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 1]],
    "right": [[1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0, 0]],
    "both": [[0, 1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1, 1]],
    "inside": [[1, 1, 0, 1, 0, 0, 1, 1], [0, 1, 0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 1]],
}


def config_of(family: str, **settings: Any) -> Any:
    known = {config.model_type: config for config, *_ in FAMILIES}[family]
    shared = {"vocab_size": 40, "hidden_size": 32, "initializer_range": 0.5, "max_position_embeddings": 64}
    special = {"pad_token_id": PAD, "bos_token_id": 2, "eos_token_id": EOS}
    return known(**shared | special | SIZES[family] | settings)


def language_model(family: str, **settings: Any) -> Any:
    set_seed(3)
    return AutoModelForCausalLM.from_config(config_of(family, **settings)).eval()


@pytest.fixture(params=["lstm", "kgram"])
def family(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def model(family: str) -> Any:
    return language_model(family)


def mask_of(name: str) -> torch.Tensor:
    return torch.tensor(MASKS[name])


# -- padding and state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", MASKS)
@pytest.mark.parametrize("cached", [False, True])
def test_padding_changes_no_state_of_a_row(model: Any, side: str, cached: bool) -> None:
    mask = mask_of(side)
    padded = model.model(
        IDS, attention_mask=mask, position_ids=position_ids(mask), use_cache=cached
    ).last_hidden_state
    for row, keep in enumerate(mask.bool()):
        alone = model.model(IDS[row : row + 1, keep], use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(padded[row, keep], alone, atol=2e-6, rtol=1e-5)


def test_reading_on_from_the_state_equals_reading_at_once(model: Any) -> None:
    mask = mask_of("left")
    mask[:, -3:] = 1
    mask[0, 6] = 0  # so that the last part is ragged too, with the shortest row in front
    whole = model(IDS, attention_mask=mask).logits
    first = model(IDS[:, :5], attention_mask=mask[:, :5], use_cache=True)
    assert first.past_key_values.get_seq_length() == 5
    parts = [first.logits]
    for at in (slice(5, 6), slice(6, 8)):  # one token, then two
        found = model(
            IDS[:, at],
            attention_mask=mask[:, : at.stop],
            past_key_values=first.past_key_values,
            use_cache=True,
        )
        parts.append(found.logits)
    real = mask.bool()
    torch.testing.assert_close(torch.cat(parts, 1)[real], whole[real], atol=2e-5, rtol=1e-4)


def test_a_step_of_padding_alone_leaves_the_state(model: Any) -> None:
    cache = model.new_cache()
    model(IDS[:, :4], past_key_values=cache, use_cache=True)
    before = {layer: memory for layer, memory in cache.memories.items() if memory}
    kept = {layer: [tensor.clone() for tensor in memory] for layer, memory in before.items()}
    mask = torch.ones(3, 6, dtype=torch.long)
    mask[1, 4:] = 0
    model(IDS[:, 4:6], attention_mask=mask, past_key_values=cache, use_cache=True)
    for layer, memory in kept.items():
        for old, new in zip(memory, cache.memories[layer], strict=True):
            torch.testing.assert_close(new[1], old[1])
            assert not torch.equal(new[0], old[0])


def test_gradients_are_those_of_the_rows_alone(model: Any) -> None:
    mask = mask_of("both")
    follows = torch.cat([mask[:, :1] * 0, mask[:, :-1] * mask[:, 1:]], 1)  # a real token after a real one
    targets = IDS.masked_fill(follows == 0, -100)

    def gradient(batches: list[tuple[Any, Any, Any]]) -> torch.Tensor:
        model.zero_grad()
        for ids, seen, labels in batches:
            logits = model(ids, attention_mask=seen, use_cache=False).logits[:, :-1]
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
            ).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    together = gradient([(IDS, mask, targets)])
    keeps = list(enumerate(mask.bool()))
    alone = gradient([(IDS[r : r + 1, keep], None, targets[r : r + 1, keep]) for r, keep in keeps])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)


def test_the_lstm_is_the_equation_of_its_module() -> None:
    layer = language_model("lstm").model.layers[0]
    hidden = torch.randn(2, 5, 32)
    found, (h_after, c_after) = layer(hidden, None, None, True)
    inputs = layer.norm(hidden)
    h, c, outputs = torch.zeros(2, 24), torch.zeros(2, 24), []
    for x in inputs.unbind(1):
        gates = x @ layer.input_gates.weight.T + h @ layer.recurrent_gates.weight.T + layer.gate_bias
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    torch.testing.assert_close(found, hidden + layer.output(torch.stack(outputs, 1)))
    torch.testing.assert_close((h_after, c_after), (h, c))
    assert (layer.gate_bias[24:48] == 1).all()
    assert layer.gate_bias.sum() == 24


def test_a_kgram_knows_its_last_k_tokens_and_no_other() -> None:
    model = language_model("kgram")
    whole = model(IDS).logits
    at = 3
    changed = IDS.clone()
    changed[:, at] = 33
    moved = (model(changed).logits - whole).abs().amax((0, 2)) > 0
    assert moved.tolist() == [at <= position < at + K for position in range(IDS.shape[1])]


def test_an_lstm_is_causal_and_remembers() -> None:
    model = language_model("lstm")
    changed = IDS.clone()
    changed[:, 3] = 33
    moved = (model(changed).logits - model(IDS).logits).abs().amax((0, 2)) > 0
    assert moved.tolist() == [False] * 3 + [True] * 5


# -- generating ------------------------------------------------------------------------------------------

PROMPTS = [[5, 9, 11, 7, 3], [8, 6], [12, 5, 9]]


def padded_prompts() -> dict[str, torch.Tensor]:
    width = max(map(len, PROMPTS))
    rows = [[PAD] * (width - len(prompt)) + prompt for prompt in PROMPTS]
    masks = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}


def talkative(model: Any) -> Any:
    """A random model with tied embeddings repeats its last token: untie, and let the past count for more."""
    torch.manual_seed(4)
    model.lm_head.weight = torch.nn.Parameter(0.3 * torch.randn(40, 32))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".layers." in name and weight.ndim == 2:
                weight.mul_(4)
    return model


def test_greedy_decoding_equals_generate_token_for_token(model: Any) -> None:
    talkative(model)
    sampling = Sampling(12, temperature=0)
    ours = Decoder(model, [EOS], PAD).generate(PROMPTS, sampling, None)
    theirs = model.generate(**padded_prompts(), max_new_tokens=12, do_sample=False)[:, 5:]
    assert ours.completion_ids.tolist() == theirs[:, : ours.completion_ids.shape[1]].tolist()
    assert len(ours.completion_ids.unique()) > 5
    logprobs, _ = completion_logprobs(
        model, ours.input_ids, ours.attention_mask, ours.completion_mask, temperature=1.0
    )
    torch.testing.assert_close(logprobs, ours.logprobs, atol=2e-5, rtol=1e-5)


def test_beams_and_several_sequences_move_the_state_with_them(model: Any) -> None:
    talkative(model)
    arguments = {
        "max_new_tokens": 8,
        "num_beams": 4,
        "num_return_sequences": 2,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_scores": True,
    }
    cached = model.generate(**padded_prompts(), **arguments)
    plain = model.generate(**padded_prompts(), **arguments, use_cache=False)
    assert cached.sequences.shape[0] == 6
    assert cached.sequences.tolist() == plain.sequences.tolist()
    torch.testing.assert_close(cached.sequences_scores, plain.sequences_scores, atol=1e-5, rtol=1e-4)


def test_rows_of_the_cache_are_repeated_and_selected(model: Any) -> None:
    cache = model.new_cache()
    model(IDS, past_key_values=cache, use_cache=True)
    first = next(memory for memory in cache.memories.values() if memory)[0].clone()
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([3, 0]))
    torch.testing.assert_close(cache.memories[0][0], first[[1, 0]])
    cache.reset()
    assert cache.get_seq_length() == 0
    assert cache.get(0) is None


def test_generating_in_a_way_that_takes_tokens_back_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="stateful"):
        model.generate(**padded_prompts(), assistant_model=model, max_new_tokens=3)


# -- heads, precision, memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("pad", [PAD, EOS])
def test_the_score_is_that_of_the_last_real_token(family: str, pad: int) -> None:
    set_seed(3)
    scorer = AutoModelForSequenceClassification.from_config(
        config_of(family, num_labels=1, pad_token_id=pad)
    ).eval()
    rows = [[5, 9, 11, EOS], [8, EOS, 4, 6, EOS], [7, 3]]
    alone = torch.cat([scorer(torch.tensor([row])).logits for row in rows])
    assert alone.unique().numel() == 3
    for left in (True, False):
        ids, mask = torch.full((3, 5), pad), torch.zeros(3, 5, dtype=torch.long)
        for at, row in enumerate(rows):
            place = slice(5 - len(row), 5) if left else slice(0, len(row))
            ids[at, place], mask[at, place] = torch.tensor(row), 1
        torch.testing.assert_close(scorer(ids, attention_mask=mask).logits, alone, atol=2e-6, rtol=1e-5)
    loss = scorer(ids, attention_mask=mask, labels=torch.zeros(3, 1)).loss
    torch.testing.assert_close(loss, alone.square().mean())


def test_all_hidden_states_lie_where_their_tokens_lie(model: Any) -> None:
    mask = mask_of("left")
    found = model(IDS, attention_mask=mask, output_hidden_states=True)
    assert len(found.hidden_states) == len(model.model.layers) + 1
    real = mask.bool()
    torch.testing.assert_close(found.hidden_states[0][real], model.get_input_embeddings()(IDS)[real])
    torch.testing.assert_close(model.lm_head(found.hidden_states[-1]), found.logits)
    kept = model(IDS, attention_mask=mask, logits_to_keep=2).logits
    torch.testing.assert_close(kept, found.logits[:, -2:])


def test_gradient_checkpointing_changes_no_gradient(family: str) -> None:
    def gradient(checkpointed: bool) -> torch.Tensor:
        model = language_model(family).train()
        if checkpointed:
            model.activation_checkpointing_enable()
            assert all(layer.gradient_checkpointing for layer in model.model.layers)
        model(IDS, attention_mask=mask_of("both"), labels=IDS).loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    torch.testing.assert_close(gradient(True), gradient(False))


def test_bf16_autocast_is_near_fp32(model: Any) -> None:
    exact = model(IDS, attention_mask=mask_of("left")).logits
    with torch.autocast("cpu", torch.bfloat16):
        model(IDS, labels=IDS).loss.backward()
        found = model(IDS, attention_mask=mask_of("left")).logits
        generated = model.generate(**padded_prompts(), max_new_tokens=4, do_sample=False)
    assert found.dtype == torch.bfloat16
    real = mask_of("left").bool()
    assert (found - exact)[real].abs().max() < 0.05 * exact.abs().max()
    assert generated.shape[1] > 5
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# -- adapters --------------------------------------------------------------------------------------------


def adapted(model: Any, **settings: Any) -> Any:
    from tempering.models.adapters import add_adapter

    made = add_adapter(model, LoraConfig(rank=4, **settings), seed=1)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:  # zero at first: an adapter that does something shows whether it is used
            torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_on_a_base_in_bf16(family: str, dora: bool) -> None:
    model = adapted(language_model(family).bfloat16(), dora=dora)
    model(IDS).logits.float().pow(2).mean().backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)


def test_lora_reaches_every_matrix_and_merging_changes_nothing(family: str) -> None:
    plain = language_model(family)(IDS).logits
    model = adapted(language_model(family))
    layers = [name for name in model.targeted_module_names if ".layers." in name]
    assert len(layers) == {"lstm": 2 * 3, "kgram": 2 + 2 * 3}[family]
    found = model(IDS).logits
    with model.disable_adapter():
        torch.testing.assert_close(model(IDS).logits, plain)
    model(IDS, labels=IDS).loss.backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if "lora_" in name}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in trained.values())
    cache = model.new_cache()
    steps = [
        model(IDS[:, at : at + 1], past_key_values=cache, use_cache=True).logits for at in range(IDS.shape[1])
    ]
    torch.testing.assert_close(torch.cat(steps, 1), found, atol=2e-5, rtol=1e-4)
    merged = model.merge_and_unload()(IDS).logits
    assert (merged - plain).abs().max() > 0.1
    torch.testing.assert_close(merged, found, atol=2e-5, rtol=1e-4)


def test_own_decoder_and_logprobs_work_through_an_adapter(family: str) -> None:
    model = adapted(language_model(family))
    sampling = Sampling(8)
    uniform = sampling.numbers(len(PROMPTS), torch.Generator().manual_seed(1))
    found = Decoder(model, [EOS], PAD).generate(PROMPTS, sampling, uniform)
    logprobs, _ = completion_logprobs(
        model, found.input_ids, found.attention_mask, found.completion_mask, temperature=1.0
    )
    torch.testing.assert_close(logprobs, found.logprobs, atol=2e-5, rtol=1e-5)


# -- to disk and back ------------------------------------------------------------------------------------


def test_auto_classes_load_what_was_saved(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    back, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert back.lm_head.weight is back.model.embed_tokens.weight
    torch.testing.assert_close(back(IDS).logits, model(IDS).logits)
    trunk, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    torch.testing.assert_close(trunk(IDS).last_hidden_state, model.model(IDS).last_hidden_state)


def test_trl_makes_a_reference_model_from_a_folder(model: Any, tmp_path: Path) -> None:
    from trl.trainer.utils import create_model_from_path

    model.save_pretrained(tmp_path)
    assert type(create_model_from_path(str(tmp_path))) is type(model)


def test_loading_a_part_of_the_weights_initialises_the_rest_only(family: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved = language_model(family)
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.fill_(0.125)
    saved.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    back = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (back.model.norm.weight == 1).all()
    assert all((weight == 0.125).all() for name, weight in back.named_parameters() if name in weights)


def test_the_configs_are_what_was_asked_for() -> None:
    assert config_of("lstm").state_size == 24
    assert LSTMModelConfig().to_dict()["model_type"] == "lstm"
    assert KGramModelConfig(context_size=7).to_diff_dict()["context_size"] == 7
