"""pretrain: a causal language model on packed blocks of text, from scratch or further."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact, TokenizerArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.training.config import PretrainConfig


@stage(
    "pretrain",
    version=2,
    makes=ModelArtifact,
    label="Pretrained",
    trains=True,
    color=0,
    loss_unit="nats per token",
    preload=("trl.trainer.sft_trainer",),
)
def pretrain(
    out: Draft,
    config: PretrainConfig,
    *,
    tokenizer: TokenizerArtifact,
    sample: SampleArtifact,
    model: ModelArtifact | None = None,
) -> Summary:
    """Train on the sample: `model` further, or a new model of the config's architecture."""
    from tempering.data.tokenizers import load_tokenizer
    from tempering.generation.probe import refuse_unserved
    from tempering.models.adapters import trainable_lm
    from tempering.models.device import prepare_device
    from tempering.models.loading import new_model
    from tempering.training.causal import pretrain_trainer
    from tempering.training.run import check_block, check_inputs, remote_code, token_budget, train

    prepare_device(out)
    # Where to start: a new model, or one with this tokenizer.
    loaded = load_tokenizer(tokenizer.tokenizer_dir)
    if model is None:
        start = new_model(config.architecture, loaded, out.seed)
        refuse_unserved(start, "pretrain.architecture")
    else:
        check_inputs(model, sample, config.sample_rows)
        start = trainable_lm(model, config.adapter, out.seed)
    check_block(start, config)
    out.name_tokens = token_budget(config, sample)
    trainer = pretrain_trainer(start, loaded, sample, config, out)
    # Pretraining teaches no chat template, whatever the model started from.
    details = {"tokenizer": tokenizer.digest, "prompt_format": "plain", "head": "causal_lm"}
    return train(trainer, loaded, out, details | remote_code(model))
