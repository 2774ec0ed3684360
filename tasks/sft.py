"""sft: supervised fine-tuning on demonstrations; the loss covers the completions only."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.training.config import SFTConfig


@stage(
    "sft",
    version=2,
    makes=ModelArtifact,
    label="SFT",
    trains=True,
    color=1,
    loss_unit="nats per token",
    preload=("trl.trainer.sft_trainer",),
)
def sft(out: Draft, config: SFTConfig, *, model: ModelArtifact, sample: SampleArtifact) -> Summary:
    """Teach `model` to answer in the chat format."""
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.adapters import trainable_lm
    from tempering.models.device import prepare_device
    from tempering.training.causal import sft_trainer
    from tempering.training.run import check_inputs, inherited, token_budget, train

    prepare_device(out)
    check_inputs(model, sample, config.sample_rows)
    tokenizer = load_tokenizer(model.model_dir)
    policy = trainable_lm(model, config.adapter, out.seed)
    out.name_tokens = token_budget(config, sample)
    trainer = sft_trainer(policy, tokenizer, sample, config, out)
    return train(trainer, tokenizer, out, {**inherited(sample, model), "head": "causal_lm"})
