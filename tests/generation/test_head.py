"""The chunked head gives the model's own log-probabilities, whatever the model does to its logits."""

from typing import Any

import pytest
import torch

from tempering.generation import logprobs
from tempering.generation.decoder import Decoder
from tempering.generation.logprobs import completion_logprobs
from tempering.generation.sampling import Sampling
from tests.models.tiny_families import tiny_model

IDS = torch.tensor([[0, 0, 5, 9, 11, 7, 40], [8, 6, 4, 50, 5, 12, 9]])
SEEN = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]])
SCORED = torch.ones(2, 3, dtype=torch.bool)
CHANGES_LOGITS = ["cohere", "falcon_h1", "gemma2", "granite", "minicpm3", "modernbert-decoder", "mpt",
                  "recurrent_gemma"]  # fmt: skip


def own(model: Any) -> torch.Tensor:
    """(2, 3) by the model's own forward, a row at a time, without padding."""
    rows = []
    for ids, seen in zip(IDS, SEEN.bool(), strict=True):
        logs = model(input_ids=ids[seen][None], use_cache=False).logits[0].log_softmax(-1)
        rows.append(logs[-4:-1].gather(-1, ids[-3:, None]).squeeze(-1))
    return torch.stack(rows)


@pytest.mark.parametrize("model_type", CHANGES_LOGITS)
def test_scaled_capped_and_deeper_heads_give_their_own_logprobs_and_gradients(
    model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(model_type)
    monkeypatch.setattr(logprobs, "CHUNK", 4)  # of 6 states: two chunks, recomputed in the backward pass
    ours, _ = completion_logprobs(model, IDS, SEEN, SCORED, 1.0)
    true = own(model)
    torch.testing.assert_close(ours, true, atol=1e-5, rtol=1e-5)
    gradients = []
    for values in (ours, true):
        model.zero_grad()
        values.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-3, rtol=1e-3)
    assert "forward" not in model.base_model.__dict__, "the backbone is itself again"


def test_a_head_of_zeros_does_not_pass_for_a_plain_one() -> None:
    """A new head may start at zero: scaled or not, its logits are the same."""
    model = tiny_model("cohere")
    weight = model.get_output_embeddings().weight
    kept = weight.detach().clone()
    weight.data.zero_()
    completion_logprobs(model, IDS, SEEN, SCORED, 1.0)
    weight.data.copy_(kept)
    torch.testing.assert_close(completion_logprobs(model, IDS, SEEN, SCORED, 1.0)[0], own(model))


@pytest.mark.parametrize("model_type", ["mamba", "mamba2", "minimax", "recurrent_gemma"])
def test_models_with_a_state_decode_what_they_read(model_type: str) -> None:
    """With prompts of several lengths, and rows that leave the batch."""
    model = tiny_model(model_type)
    prompts = [IDS[0, 2:].tolist(), IDS[1].tolist(), IDS[1].tolist()]
    free = Decoder(model, [1], 0).generate(prompts, Sampling(8, 8, 0.0), None)
    stop = int(free.completion_ids[0, 2])  # ends the first row early
    for eos in (1, stop):
        rollout = Decoder(model, [eos], 0).generate(prompts, Sampling(8, 0, 0.0), None)
        batch = (rollout.input_ids, rollout.attention_mask, rollout.completion_mask)
        torch.testing.assert_close(
            rollout.logprobs, completion_logprobs(model, *batch, 1.0)[0], atol=1e-4, rtol=1e-4
        )
        for prompt, answer in zip(prompts, rollout.tokens(), strict=True):
            logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
            assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == answer
