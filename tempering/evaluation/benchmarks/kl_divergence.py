"""How far a policy has moved from a reference, on its own completions: KL(policy || reference) in nats.

At each token the divergence is summed over the whole vocabulary, so that only which completions are sampled
is left to chance; the sum over a completion is then an unbiased estimate of the KL between whole completions.
Temperature 1, and the full distribution: the divergence is the policy's and not a sampler's.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.against import add_mean
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class KLDivergenceBenchmark(Benchmark):
    """KL of the policy to a reference model on its own completions, per token and per completion."""

    kind: Literal["kl_divergence"]
    reference: str = Field(
        "sft", description="stage, artifact, folder or Hub name of a model with the same tokenizer"
    )
    max_new_tokens: int = Field(48, ge=1, le=MOST_LENGTH, description="longest completion, in tokens")
    estimator: Literal["exact", "k1", "k3"] = Field(
        "exact", description="exact: summed over the vocabulary; k1, k3: from the sampled tokens alone"
    )

    version = 2
    row_types = (RowType.PROMPT, RowType.PROMPT_COMPLETION)
    convention = (
        "One completion per prompt at temperature 1; both models read the same tokens, EOS included. "
        "`exact`: summed over the vocabulary at each token; `k1`, `k3`: Schulman's estimators from the "
        "sampled tokens. Per token: over all tokens; per completion: the mean of the sums."
    )
    metrics = (
        Measure(
            "kl_per_token", "KL to the reference, per token", "nats per token", better="lower", named=True
        ),
        Measure(
            "kl_per_completion", "KL to the reference", "nats per completion", better="lower", named=True
        ),
    )

    @property
    def model_names(self) -> tuple[str, ...]:
        """The reference."""
        return (self.reference,)

    @property
    def convention_name(self) -> str:
        """How the divergence is taken."""
        return self.estimator

    def check(self, name: str, tools: Tools) -> None:
        """Refuse a reference that is no language model or has other tokens."""
        from tempering.models.checks import check_language_model, check_tokenizer

        assert tools.model is not None
        reference = tools.models[self.reference]
        check_language_model(reference)
        check_tokenizer(tools.model, reference.details.get("tokenizer"), reference.id)

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """KL of each completion, and over all their tokens."""
        from tempering.generation.kl import completion_kl
        from tempering.generation.sampling import Sampling
        from tempering.rewards.speaker import open_speaker

        # The reference itself has no distance.
        artifact = tools.models[self.reference]
        if tools.model is not None and tools.model.payload_digest == artifact.payload_digest:
            if tools.out is not None:
                tools.out.warn(f"benchmark {findings.name}: this is the reference itself, nothing to measure")
            return

        # The reference, and prompts that fit into both.
        assert tools.policy is not None
        model = tools.policy
        reference = open_speaker(artifact, model.model.device)
        taken = self.max_new_tokens + max(0, model.room - reference.room)
        prompts = [model.fitting(model.prompt([dict(turn) for turn in row["prompt"]]), taken) for row in rows]

        # Complete them, and read the completions with both.
        sums, counts = [0.0] * len(rows), [0] * len(rows)
        sampling = Sampling(self.max_new_tokens, temperature=1.0)
        for places, rollout in model.rollouts(prompts, sampling, tools.seed):
            device = model.model.device
            inputs = (rollout.input_ids, rollout.attention_mask, rollout.completion_mask)
            kl = completion_kl(
                model.model, reference.model, *(item.to(device) for item in inputs), self.estimator
            )
            for place, total, length in zip(
                places, kl.sum(1).tolist(), rollout.lengths.tolist(), strict=True
            ):
                sums[place], counts[place] = total, length
        means = [total / count for total, count in zip(sums, counts, strict=True)]
        findings.add("kl_per_token", means, weights=counts)
        add_mean(findings, "kl_per_completion", sums)
