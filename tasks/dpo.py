"""dpo: direct preference optimisation against the starting model, or another reference."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.training.config import DPOConfig


@stage(
    "dpo",
    version=2,
    makes=ModelArtifact,
    label="DPO",
    trains=True,
    color=3,
    aligns=True,
    loss_unit="nats per pair",
    preload=("trl.trainer.dpo_trainer",),
)
def dpo(
    out: Draft,
    config: DPOConfig,
    *,
    model: ModelArtifact,
    sample: SampleArtifact,
    reference: ModelArtifact | None = None,
) -> Summary:
    """Move `model` toward the chosen answers; by default its own log-probabilities are the reference."""
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.adapters import trainable_lm
    from tempering.models.device import prepare_device
    from tempering.models.loading import load_causal_lm
    from tempering.training.preference import dpo_trainer
    from tempering.training.run import check_inputs, inherited, token_budget, train

    # Models that do not fit the sample are refused before anything is loaded.
    prepare_device(out)
    check_inputs(model, sample, config.sample_rows)
    if reference is not None:
        check_inputs(reference, sample, config.sample_rows)
    # The policy starts from `model`; another reference stays frozen.
    tokenizer = load_tokenizer(model.model_dir)
    policy = trainable_lm(model, config.adapter, out.seed)
    out.name_tokens = token_budget(config, sample)
    frozen = reference and load_causal_lm(reference.model_dir, trust_remote_code=reference.trusts_remote_code)
    trainer = dpo_trainer(policy, tokenizer, sample, config, out, frozen)
    return train(trainer, tokenizer, out, {**inherited(sample, model), "head": "causal_lm"})
