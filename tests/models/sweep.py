"""Every causal LM type of transformers, tiny, through everything that could answer otherwise than it does.

`python -m tests.models.sweep` (a few minutes) writes the table in docs/families.md anew.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from tempering.errors import ArtifactError
from tests.models.tiny_families import VOCABULARY, tiny_model

PAGE = Path(__file__).parents[2] / "docs/families.md"
BEGIN, END = "<!-- families: begin -->\n", "<!-- families: end -->\n"
SERVED, NO_TRL, UNTRIED = "served", "served, not in sft, dpo", "not tried"
ALLOWED = 1e-3
_PROMPTS, _NEW = (6, 11), 8


@dataclass
class Row:
    """A type, how it fares and why, and how far each way of asking is from the model's own forward."""

    model_type: str
    state: str
    reason: str = ""
    gaps: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """Its line in the table."""
        largest = max(self.gaps.values(), default=None)
        gap = "" if largest is None else f"{largest:.0e}"
        return f"| `{self.model_type}` | {self.state} | {gap} | {self.reason} |\n"


def families() -> list[str]:
    """All causal LM types that the installed transformers knows."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def try_family(model_type: str) -> Row:
    """Build it, ask it, compare; a type that is refused by name is only named."""
    from tempering.generation.probe import why_unserved
    from tempering.training.fused_head import fused_gap
    from tempering.unserved import UNSERVED

    if model_type in UNSERVED:
        return Row(model_type, "refused", UNSERVED[model_type])
    try:
        model = tiny_model(model_type)
    except Exception as error:  # whatever transformers raises over its own defaults
        first = (str(error).strip().splitlines() or [""])[-1].strip()[:90]
        return Row(model_type, UNTRIED, f"transformers does not build it from its defaults here ({first})")
    reason = why_unserved(model)
    if reason is not None:
        return Row(model_type, "refused", reason)
    gaps, note = reading_gaps(model), ""
    try:
        gaps["adopted"] = adopted_gap(model, more=1)
    except ArtifactError:  # more than its embeddings has the size of the vocabulary
        model, note = tiny_model(model_type), "adopted only with a pad token of its own"
        try:
            gaps["adopted"] = adopted_gap(model, more=0)
        except ArtifactError as error:
            return Row(model_type, "refused", f"cannot be read once it is written: {error.found}")
    trl = fused_gap(model)
    if isinstance(trl, str) or trl > ALLOWED:
        return Row(model_type, NO_TRL, "TRL's loss is not the model's", gaps)
    return Row(model_type, SERVED, note, gaps | {"sft": trl})


@torch.no_grad()
def reading_gaps(model: Any) -> dict[str, float]:
    """Largest differences of log-probabilities from the model's own; inf: other tokens than its own."""
    from tempering.generation.decoder import Decoder
    from tempering.generation.logprobs import completion_logprobs
    from tempering.generation.sampling import Sampling

    prompts = prompts_of()
    rollout = Decoder(model, [1], 0).generate(prompts, Sampling(_NEW, _NEW, 0.0), None)
    batch = (rollout.input_ids, rollout.attention_mask, rollout.completion_mask)
    scored, _ = completion_logprobs(model, *batch, 1.0)
    gaps = {"head": 0.0, "decoder": 0.0, "loss": 0.0}
    for row, (prompt, answer) in enumerate(zip(prompts, rollout.tokens(), strict=True)):
        true = own_logprobs(model, [*prompt, *answer])[-len(answer) :]
        gaps["head"] = max(gaps["head"], largest(scored[row] - true))
        gaps["decoder"] = max(gaps["decoder"], largest(rollout.logprobs[row] - true))
        gaps["loss"] = max(gaps["loss"], abs(float(scored[row].mean() - true.mean())))
        if answer != generated(model, prompt):
            gaps["decoder"] = float("inf")
    return gaps


def prompts_of() -> list[list[int]]:
    """Prompts of two lengths, one of them twice."""
    ids = torch.randint(3, VOCABULARY, (sum(_PROMPTS),), generator=torch.Generator().manual_seed(1)).tolist()
    return [ids[: _PROMPTS[0]], ids[_PROMPTS[0] :], ids[: _PROMPTS[0]]]


def own_logprobs(model: Any, ids: list[int]) -> Tensor:
    """(T - 1,) of each token after the first, by the model's own forward."""
    tensor = torch.tensor([ids])
    logits = model(input_ids=tensor, attention_mask=torch.ones_like(tensor), use_cache=False).logits[0]
    return logits.float().log_softmax(-1)[:-1].gather(-1, tensor[0, 1:, None]).squeeze(-1)


def generated(model: Any, prompt: list[int]) -> list[int]:
    """The model's own greedy answer, by transformers' `generate()`."""
    from transformers import GenerationConfig

    ids = torch.tensor([prompt])
    settings = GenerationConfig(
        max_new_tokens=_NEW, min_new_tokens=_NEW, do_sample=False, eos_token_id=1, pad_token_id=0
    )
    answer = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    return answer[0, len(prompt) :].tolist()  # type: ignore[no-any-return]


@torch.no_grad()
def adopted_gap(model: Any, more: int) -> float:
    """Largest difference of logits after growing by `more` tokens, writing, and reading back."""
    from tempering.exchange.adopt import grow
    from tempering.exchange.faithful import answers, settle_generation, settle_tying
    from tempering.models.loading import load_causal_lm

    before = answers(model, VOCABULARY)
    settle_tying(model)
    settle_generation(model)
    if more:
        grow(model, VOCABULARY, VOCABULARY + more)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        after = answers(load_causal_lm(folder, weights="as_is"), VOCABULARY)
    return largest(after[..., :VOCABULARY] - before)


def largest(gaps: Tensor) -> float:
    """The largest size; NaN counts as infinite."""
    gap = float(gaps.abs().max())
    return gap if gap == gap else float("inf")


def table(rows: list[Row]) -> str:
    """The rows between their marks."""
    head = "| type | | largest difference | why |\n|---|---|--:|---|\n"
    return BEGIN + head + "".join(row.line() for row in rows) + END


def main() -> None:
    """Write the table anew."""
    torch.set_num_threads(1)
    rows = []
    for model_type in families():
        rows.append(try_family(model_type))
        print(rows[-1].line(), end="", file=sys.stderr)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + table(rows) + after, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
