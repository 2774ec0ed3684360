"""Our decoder against `generate()`, and log-probabilities against plain logits."""

from typing import Any

import pytest
import torch

from tempering.onpolicy.logprobs import completion_logprobs
from tempering.onpolicy.rollout import Decoder, Sampling

PROMPTS = [[5, 9, 11, 7], [8, 6], [12, 5, 9]]
EOS, PAD = 1, 0


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(3)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, vocab_size=40,
        max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rollout(model: Any, prompts: list[list[int]] = PROMPTS, **sampling: Any) -> Any:
    return Decoder(model, [EOS], PAD).generate(prompts, Sampling(10, **sampling), generator())


def test_greedy_equals_generate_token_for_token(model: Any) -> None:
    ours = rollout(model, temperature=0)
    theirs = model.generate(
        input_ids=ours.prompt_ids, attention_mask=ours.prompt_mask, max_new_tokens=10, do_sample=False,
        eos_token_id=EOS, pad_token_id=PAD,
    )[:, ours.prompt_ids.shape[1] :]  # fmt: skip
    assert ours.completion_ids.tolist() == theirs.tolist()


def test_padding_does_not_change_a_row(model: Any) -> None:
    together = rollout(model, temperature=0)
    for row, prompt in enumerate(PROMPTS):
        alone = rollout(model, [prompt], temperature=0)
        length = int(alone.lengths[0])
        assert alone.completion_ids[0].tolist() == together.completion_ids[row, :length].tolist()


def test_sampler_and_trainer_agree_on_logprobs(model: Any) -> None:
    found = rollout(model, temperature=0.8, top_k=20)
    logprobs, _ = completion_logprobs(
        model, found.input_ids, found.attention_mask, found.completion_mask, temperature=0.8
    )
    torch.testing.assert_close(logprobs, found.logprobs, atol=2e-5, rtol=0)


def test_logprobs_and_entropy_equal_those_of_the_full_logits(model: Any) -> None:
    ids = torch.tensor([[5, 9, 11, 7, 3, 2], [8, 6, 4, 4, 5, 5]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    attention = torch.ones_like(ids)
    logprobs, entropy = completion_logprobs(model, ids, attention, mask, temperature=2.0)
    logs = torch.log_softmax(model(input_ids=ids).logits[:, 2:-1] / 2.0, -1)
    wanted = logs.gather(-1, ids[:, 3:, None]).squeeze(-1) * mask
    torch.testing.assert_close(logprobs, wanted)
    torch.testing.assert_close(entropy, -(logs.exp() * logs).sum(-1) * mask)


def test_chunks_of_the_head_change_neither_value_nor_gradient(model: Any, monkeypatch: Any) -> None:
    ids = torch.randint(2, 40, (4, 12), generator=generator())
    mask = torch.ones(4, 8, dtype=torch.bool)

    def gradient(chunk: int) -> torch.Tensor:
        monkeypatch.setattr("tempering.onpolicy.logprobs.CHUNK", chunk)
        model.zero_grad()
        completion_logprobs(model, ids, torch.ones_like(ids), mask, 1.0)[0].sum().backward()
        return model.model.embed_tokens.weight.grad.clone()

    torch.testing.assert_close(gradient(5), gradient(4096))


def test_mask_ends_with_eos_and_ended_says_so(model: Any) -> None:
    found = rollout(model, temperature=1.5)
    for ids, mask, ended in zip(found.completion_ids, found.completion_mask, found.ended, strict=True):
        kept = ids[mask].tolist()
        assert ended == (kept[-1] == EOS)
        assert EOS not in kept[:-1]
        assert (ids[~mask] == PAD).all()


def test_the_seed_decides(model: Any) -> None:
    first, second = rollout(model), rollout(model)
    assert first.completion_ids.tolist() == second.completion_ids.tolist()
    other = Decoder(model, [EOS], PAD).generate(PROMPTS, Sampling(10), generator(1))
    assert other.completion_ids.tolist() != first.completion_ids.tolist()


def test_stream_gives_the_tokens_of_generate(model: Any) -> None:
    decoder = Decoder(model, [EOS], PAD)
    whole = decoder.generate([PROMPTS[0]], Sampling(10), generator())
    streamed = list(decoder.stream(PROMPTS[0], Sampling(10), generator()))
    assert streamed == [
        token for token in whole.completion_ids[0][whole.completion_mask[0]].tolist() if token != EOS
    ]
