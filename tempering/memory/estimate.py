"""How much memory a training stage will need: arithmetic from its configuration, before anything runs.

Every part is the size of the tensors that the stage holds; activations are what autograd keeps and the
temporaries, found by taking the model through the stage's own code as shapes (see `trace`). A stage is a
sequence of phases which do not need everything at once, so `total` is the highest phase, not the sum of
the parts. What was measured, and what is assumed on a GPU, is in docs/memory.md.

The class of a config says what is computed: a new kind of training adds one function to `_ESTIMATES`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from tempering.config import Config
from tempering.errors import ArtifactError, ConfigError
from tempering.generation.decoder import SHRINK
from tempering.generation.sampling import Sampling
from tempering.memory import models, steps
from tempering.memory.parts import Course, Estimate, Inputs
from tempering.memory.trace import nbytes, shapes_only, unique_parameters
from tempering.onpolicy.config import OnPolicyConfig
from tempering.rewards.config import learned
from tempering.rewards.learned import TOGETHER as SCORED_TOGETHER
from tempering.training.config import DPOConfig, PretrainConfig, RewardModelConfig, SFTConfig


def estimate(config: Config, inputs: Inputs) -> Estimate:
    """The memory of the training stage that a config describes, in bytes.

    Raises:
        ArtifactError: a model that is not there, that cannot be built, or that looks at its numbers to
            decide on shapes.
        ConfigError: a config without an estimate, or an adapter whose targets match nothing.
    """
    compute = arithmetic(config)
    try:
        with shapes_only():
            return compute(Course(config, inputs))  # type: ignore[arg-type]
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"the model cannot be gone through as shapes: {str(error).splitlines()[0]}",
            expected="an architecture that the stage can train, whose shapes do not depend on its numbers",
        ) from error


def arithmetic(config: Config) -> Callable[[Course], Estimate]:
    """What computes the estimate of a config's class, or of the class it extends.

    Raises:
        ConfigError: nothing does.
    """
    for kind, compute in _ESTIMATES.items():
        if isinstance(config, kind):
            return compute
    raise ConfigError(
        f"{type(config).__name__} has no memory estimate",
        expected=f"a config of: {', '.join(kind.__name__ for kind in _ESTIMATES)}",
        fix="add one to tempering/memory/estimate.py",
    )


# -- pretraining and the trainers of TRL -----------------------------------------------------


def _pretrain(course: Course) -> Estimate:
    model = course.ready(models.language_model(course.inputs.model, course.adapter))
    length, precision = course.inputs.length, course.config.precision
    return _trained(course, model, lambda rows: steps.next_token_loss(model, rows, length, precision))


def _fused(course: Course) -> Estimate:
    """SFT, and DPO with chosen and rejected side by side, by TRL's fused head."""
    model = course.ready(models.language_model(course.inputs.model, course.adapter))
    steps.add_fused_head(model)
    sides = 2 if isinstance(course.config, DPOConfig) else 1
    length, on_gpu = course.inputs.length, course.inputs.on_gpu
    return _trained(course, model, lambda rows: steps.fused_loss(model, sides * rows, length, on_gpu=on_gpu))


def _reward_model(course: Course) -> Estimate:
    model = course.ready(models.scorer(course.inputs.model, course.adapter))
    sides = 1 if getattr(course.config, "objective", "pairs") == "classification" else 2
    return _trained(course, model, lambda rows: steps.scores(model, sides * rows, course.inputs.length))


def _trained(course: Course, model: Any, loss: Callable[[int], Any]) -> Estimate:
    """Updates, and forward passes without gradients over held-out rows and for DPO's reference.

    The reference's log-probabilities are two numbers per pair; another model that gives them stays.
    """
    update = course.update([model], lambda: loss(course.micro))
    phases: dict[str, int] = {}
    compares, source = isinstance(course.config, DPOConfig), course.inputs.reference
    reference = None if source is None else models.language_model(source)
    if course.inputs.held_out or compares:
        measuring = steps.forward([model], lambda: loss(course.many), course.config.precision)
        if course.inputs.held_out:
            phases["held-out rows"] = measuring
        if compares:  # there is no optimizer yet
            trained = [weight for weight in unique_parameters([model]) if weight.requires_grad]
            comparing = measuring if reference is None else _comparing(course, reference)
            phases["reference"] = comparing - 2 * nbytes(trained)
    beside = 0 if reference is None else models.weight_bytes(reference)
    return course.summed([model], update, phases, reference=beside)


def _comparing(course: Course, reference: Any) -> int:
    """Bytes of the forward pass of a reference that is another model."""
    steps.add_fused_head(reference)
    length, on_gpu = course.inputs.length, course.inputs.on_gpu
    loss = partial(steps.fused_loss, reference, 2 * course.many, length, on_gpu=on_gpu)
    size: int = steps.forward([reference], loss, course.config.precision)
    return size


# -- on-policy -------------------------------------------------------------------------------


def _on_policy(course: Course) -> Estimate:
    config, inputs = course.config, course.inputs
    assert isinstance(config, OnPolicyConfig), "the table below says so"
    lengths = steps.Lengths(inputs.length, config.max_new_tokens)
    policy = course.ready(models.language_model(inputs.model, course.adapter))
    value = _value(course, config)
    modules = [policy] if value is None else [policy, value]

    # The update comes first: it leaves the models without gradients.
    update = course.update(modules, lambda: steps.policy_loss(policy, value, course.micro, lengths, config))
    sampling = Sampling(
        config.max_new_tokens, config.min_new_tokens, config.temperature, config.top_k, config.top_p
    )
    cache, decoding = steps.decoding(policy, config.rollout_batch_size, lengths, sampling)

    def compare() -> None:
        steps.completion_logprobs(policy, course.many, lengths, config.temperature)
        if value is not None:
            steps.values(value, course.many, lengths)

    scorers, scoring = _scoring(course, config, lengths)
    phases = {
        # rows that have ended leave: what is left of the cache is copied while the old one is still there
        "rollout": cache + max(decoding, int(SHRINK * cache)),
        "comparing": steps.forward(modules, compare, course.config.precision),
        "scoring": scoring,
    }
    return course.summed(
        modules,
        update,
        phases,
        reference=0 if course.adapter else models.weight_bytes(models.language_model(inputs.model)),
        reward_model=scorers,
        kv_cache=cache,
        other=_rollout_tensors(config, lengths),
    )


def _value(course: Course, config: OnPolicyConfig) -> Any:
    """The value model where it has a trunk of its own, else None."""
    settings = config.estimator.value_model
    if settings is None or settings.value_trunk == "shared":
        return None
    source = course.inputs.model
    if settings.value_init == "reward_model":
        source = course.inputs.reward_models[learned(config.reward)[0]]
    value: Any = models.value_model(source, course.adapter)
    course.ready(value.backbone)
    return value.train()


def _scoring(course: Course, config: OnPolicyConfig, lengths: steps.Lengths) -> tuple[int, int]:
    """Bytes of the weights of learned rewards and local teachers, and of the largest forward pass in fp32.

    Of a teacher only the weights: how long its questions are is up to its template.
    """
    weights = largest = 0
    rows = min(max(1, SCORED_TOGETHER // lengths.whole), config.rollout_batch_size)
    batch = steps.padded(rows, lengths.whole)
    for name, source in course.inputs.reward_models.items():
        if name in learned(config.reward):
            scorer = models.scorer(source).eval()
            weights += models.weight_bytes(scorer)
            largest = max(largest, steps.forward([scorer], partial(scorer, **batch, use_cache=False), "fp32"))
        else:
            weights += models.weight_bytes(models.language_model(source))
    return weights, largest


def _rollout_tensors(config: OnPolicyConfig, lengths: steps.Lengths) -> int:
    """The experience, the optimizer step cut out of it, and that again as micro-batches."""
    row = 16 * lengths.whole + (1 + 6 * 4) * lengths.completion  # int64 ids and mask; bool; six floats
    weights = 2 * 4 * lengths.completion
    return config.rollout_batch_size * row + 2 * config.batch_size * (row + weights)


_ESTIMATES: dict[type[Config], Callable[[Course], Estimate]] = {
    PretrainConfig: _pretrain,
    SFTConfig: _fused,
    RewardModelConfig: _reward_model,
    DPOConfig: _fused,
    OnPolicyConfig: _on_policy,
}
