"""reward_model: a score for an answer, learnt from preference pairs or from labelled texts."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.training.config import RewardModelConfig


@stage(
    "reward_model",
    version=2,
    makes=ModelArtifact,
    label="Reward model",
    trains=True,
    color=2,
    head="score",
    loss_unit="nats per example",
    preload=("trl.trainer.reward_trainer",),
)
def reward_model(
    out: Draft, config: RewardModelConfig, *, model: ModelArtifact, sample: SampleArtifact
) -> Summary:
    """Put a score head on `model` and train both."""
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.adapters import trainable_scorer
    from tempering.models.device import prepare_device
    from tempering.training.classifier import classifier_trainer
    from tempering.training.preference import reward_trainer
    from tempering.training.run import check_inputs, inherited, token_budget, train

    prepare_device(out)
    check_inputs(model, sample, config.sample_rows)
    tokenizer = load_tokenizer(model.model_dir)
    scorer = trainable_scorer(model, config.adapter, out.seed)
    out.name_tokens = token_budget(config, sample)
    make_trainer = reward_trainer if config.objective == "pairs" else classifier_trainer
    trainer = make_trainer(scorer, tokenizer, sample, config, out)
    details = {**inherited(sample, model), "head": "score"}
    if config.objective == "classification":
        details["classifies"] = True  # a score above 0 says label 1
    return train(trainer, tokenizer, out, details)
