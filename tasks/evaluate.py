"""evaluate[MODEL]: the benchmarks that apply to a model, with 95% intervals."""

from collections.abc import Mapping

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, EvaluationArtifact, ModelArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.evaluation.config import EvaluateConfig


@stage("evaluate", version=2, makes=EvaluationArtifact, slot=True, preload=("scipy.stats",))
def evaluate(
    out: Draft,
    config: EvaluateConfig,
    *,
    model: ModelArtifact,
    datasets: Mapping[str, DatasetArtifact],
    reward_model: ModelArtifact | None = None,
    baseline: EvaluationArtifact | None = None,
    models: Mapping[str, ModelArtifact] | None = None,
    trained: ModelArtifact | None = None,
    base: ModelArtifact | None = None,
) -> Summary:
    """Measure `model`; the reward model judges win rates against the completions in `baseline`.

    `models` are those that benchmarks name. `trained` has the checkpoints of a merged model, which are
    adapters on `base`.
    """
    from tempering.evaluation.run import evaluate_model

    return evaluate_model(out, config, model, datasets, reward_model, baseline, models or {}, trained, base)
