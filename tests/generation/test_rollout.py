"""Our decoder against `generate()`, and log-probabilities against plain logits."""

from typing import Any

import pytest
import torch

from tempering.generation.decoder import Decoder
from tempering.generation.logprobs import completion_logprobs
from tempering.generation.sampling import Sampling

PROMPTS = [[5, 9, 11, 7], [8, 6], [12, 5, 9]]
EOS, PAD = 1, 0


def llama(layers: int = 2) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(3)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        vocab_size=40,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return llama()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, generator=generator(seed), dtype=torch.float64)


def rollout(model: Any, prompts: list[list[int]] = PROMPTS, seed: int = 0, **options: Any) -> Any:
    size, eos = options.pop("decode_batch_size", None), options.pop("eos", [EOS])
    sampling = Sampling(10, **options)
    numbers = sampling.numbers(len(prompts), generator(seed))
    return Decoder(model, eos, PAD, decode_batch_size=size).generate(prompts, sampling, numbers)


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
        monkeypatch.setattr("tempering.generation.logprobs.CHUNK", chunk)
        model.zero_grad()
        completion_logprobs(model, ids, torch.ones_like(ids), mask, 1.0)[0].sum().backward()
        return model.model.embed_tokens.weight.grad.clone()

    torch.testing.assert_close(gradient(5), gradient(4096))


def test_stream_gives_the_tokens_of_generate(model: Any) -> None:
    decoder = Decoder(model, [EOS], PAD)
    whole = rollout(model, [PROMPTS[0]])
    streamed = list(decoder.stream(PROMPTS[0], Sampling(10), generator()))
    assert streamed == [
        token for token in whole.completion_ids[0][whole.completion_mask[0]].tolist() if token != EOS
    ]


ENDS = [1, *range(20, 27)]  # so many that rows end at different times
MANY = [[5, 9, 11, 7], [8, 6], [8, 6], [12, 5, 9], [8, 6], [7], [12, 5, 9], [3, 3, 3, 3, 3, 3]]


def rows_of(found: Any) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(found.completion_ids, found.completion_mask, strict=True)]


@pytest.mark.parametrize("options", [{}, {"top_k": 9}, {"repetition_penalty": 1.4}, {"min_new_tokens": 3}])
@pytest.mark.parametrize("size", [1, 3, None])
def test_a_row_says_the_same_whoever_is_beside_it(model: Any, size: int | None, options: Any) -> None:
    """Batches, ended rows that leave, equal prompts that are read once: none of it changes a row."""
    options = {"temperature": 1.7, **options}
    together = rollout(model, MANY, decode_batch_size=size, eos=ENDS, **options)
    lengths = together.lengths.tolist()
    assert len(set(lengths)) > 2, "rows must end at different times"
    numbers = Sampling(10).numbers(len(MANY), generator())
    alone = [
        Decoder(model, ENDS, PAD).generate([prompt], Sampling(10, **options), numbers[row : row + 1])
        for row, prompt in enumerate(MANY)
    ]
    assert rows_of(together) == [rows_of(one)[0] for one in alone]
    for row, one in enumerate(alone):
        torch.testing.assert_close(
            together.logprobs[row, : lengths[row]], one.logprobs[0, : lengths[row]], atol=2e-5, rtol=0
        )


def test_equal_prompts_are_read_once_and_ended_rows_leave(model: Any, monkeypatch: Any) -> None:
    seen: list[int] = []
    forward = model.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        seen.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", counting)
    found = rollout(model, MANY, temperature=1.7, eos=ENDS, min_new_tokens=2)
    assert seen[:3] == [5, 8, 8], "five different prompts, then every row"
    assert seen[-1] <= 4, "most had ended"
    assert len(seen) == found.completion_ids.shape[1], "nobody decodes after the last row has ended"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "static", "backend"), [(1, False, "inductor"), (2, False, "eager"), (2, True, "eager")]
)
def test_a_compiled_step_says_the_same(layers: int, static: bool, backend: str) -> None:
    """By the compiler for one layer, whose code takes long to make; traced alone for two.

    Static is as on a GPU, but for the CUDA graphs.
    """
    torch._dynamo.reset()
    model = llama(layers)
    numbers = Sampling(10).numbers(len(MANY), generator())
    sampling = Sampling(10, temperature=1.7)
    plain = Decoder(model, ENDS, PAD).generate(MANY, sampling, numbers)
    decoder = Decoder(model, ENDS, PAD, compile=True)
    assert decoder.step is not model
    if backend == "eager":
        dynamic = None if static else True
        decoder.static, decoder.step = static, torch.compile(model, backend=backend, dynamic=dynamic)
    assert rows_of(decoder.generate(MANY, sampling, numbers)) == rows_of(plain)
