"""How much memory a training stage will need: arithmetic from its configuration, before anything runs.

Every part is the size of the tensors that the stage holds; activations are what autograd keeps and the
temporaries, found by taking the model through the stage's own code as shapes (see `memory_trace`). A
stage is a sequence of phases which do not need everything at once, so `total` is the highest phase, not
the sum of the parts. What was measured, and what is assumed on a GPU, is in docs/memory.md.
"""

from typing import Any

from tempering.errors import ArtifactError
from tempering.generation.decoder import SHRINK
from tempering.generation.sampling import Sampling
from tempering.memory import models, steps
from tempering.memory.parts import Course, Estimate, Given
from tempering.memory.trace import nbytes, shapes_only, unique_parameters
from tempering.onpolicy.config import OnPolicyConfig
from tempering.rewards.config import learned
from tempering.rewards.learned import TOGETHER as SCORED_TOGETHER
from tempering.training.config import TrainingConfig


def estimate(stage: str, config: TrainingConfig, given: Given) -> Estimate:
    """The memory of one training stage, in bytes.

    Raises:
        ArtifactError: a model that is not there, that cannot be built, or that looks at its numbers to
            decide on shapes.
        ConfigError: an adapter whose targets match nothing.
    """
    try:
        with shapes_only():
            course = Course(config, given)
            if isinstance(config, OnPolicyConfig):
                return _on_policy(course, config)
            return _SUPERVISED[stage](course)
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"the model cannot be gone through as shapes: {str(error).splitlines()[0]}",
            expected="an architecture that the stage can train, whose shapes do not depend on its numbers",
        ) from error


# -- pretraining and the trainers of TRL -----------------------------------------------------


def _pretrain(course: Course) -> Estimate:
    model = course.ready(models.language_model(course.given.model, course.adapter))

    def loss(rows: int) -> Any:
        return steps.next_token_loss(model, rows, course.given.length, course.computing)

    return _trained(course, model, loss, course.micro, course.many)


def _sft(course: Course) -> Estimate:
    model = course.ready(models.language_model(course.given.model, course.adapter))
    steps.add_fused_head(model)

    def loss(rows: int) -> Any:
        return steps.fused_loss(model, rows, course.given.length, course.computing)

    return _trained(course, model, loss, course.micro, course.many)


def _reward_model(course: Course) -> Estimate:
    model = course.ready(models.scorer(course.given.model, course.adapter))

    def loss(pairs: int) -> Any:
        return steps.preference_loss(model, pairs, course.given.length)

    return _trained(course, model, loss, course.micro, course.many)


def _dpo(course: Course) -> Estimate:
    """Chosen and rejected side by side; the reference's log-probabilities are two numbers a pair."""
    model = course.ready(models.language_model(course.given.model, course.adapter))
    steps.add_fused_head(model)

    def loss(pairs: int) -> Any:
        return steps.fused_loss(model, 2 * pairs, course.given.length, course.computing)

    return _trained(course, model, loss, course.micro, course.many, measured_before=True)


def _trained(
    course: Course, model: Any, loss: Any, micro: int, many: int, *, measured_before: bool = False
) -> Estimate:
    """Updates, and forward passes without gradients over held-out rows and for DPO's reference."""
    peak = course.update([model], lambda: loss(micro))
    phases: dict[str, int] = {}
    if course.given.held_out or measured_before:
        measuring = steps.forward([model], lambda: loss(many), course.computing)
        if course.given.held_out:
            phases["held-out rows"] = measuring
        if measured_before:  # there is no optimizer yet
            moments = 2 * nbytes(one for one in unique_parameters([model]) if one.requires_grad)
            phases["reference"] = measuring - moments
    return course.summed([model], peak, phases)


_SUPERVISED = {"pretrain": _pretrain, "sft": _sft, "reward_model": _reward_model, "dpo": _dpo}


# -- on-policy -------------------------------------------------------------------------------


def _on_policy(course: Course, config: OnPolicyConfig) -> Estimate:
    given, lengths = course.given, steps.Lengths(course.given.length, config.max_new_tokens)
    policy = course.ready(models.language_model(given.model, course.adapter))
    value = _value(course, config)
    modules = [policy] if value is None else [policy, value]
    peak = course.update(modules, lambda: steps.policy_loss(policy, value, course.micro, lengths, config))
    sampling = Sampling(
        config.max_new_tokens, config.min_new_tokens, config.temperature, config.top_k, config.top_p
    )
    cache, decoding = steps.decoding(policy, config.rollout_batch_size, lengths, sampling)

    def compare() -> None:
        steps.completion_logprobs(policy, course.many, lengths, config.temperature)
        if value is not None:
            steps.values(value, course.many, lengths)

    phases = {
        # rows that have ended leave: what is left of the cache is copied while the old one is still there
        "rollout": cache + max(decoding, int(SHRINK * cache)),
        "comparing": steps.forward(modules, compare, course.computing),
    }
    scorer_bytes, phases["scoring"] = _scoring(course, config, lengths)
    return course.summed(
        modules,
        peak,
        phases,
        reference=0 if course.adapter else models.weight_bytes(models.language_model(given.model)),
        reward_model=scorer_bytes,
        kv_cache=cache,
        other=_rollout_tensors(config, lengths),
    )


def _value(course: Course, config: OnPolicyConfig) -> Any:
    settings = config.estimator.value_model
    if settings is None or settings.value_trunk == "shared":
        return None
    source = course.given.model
    if settings.value_init == "reward_model":
        source = course.given.reward_models[learned(config.reward)[0]]
    value: Any = models.value_model(source, course.adapter)
    course.ready(value.backbone)
    return value.train()


def _scoring(course: Course, config: OnPolicyConfig, lengths: steps.Lengths) -> tuple[int, int]:
    """Bytes of the weights of learned rewards and local teachers, and of the largest forward pass in fp32.

    Of a teacher only the weights: how long its questions are is up to its template.
    """
    weights = largest = 0
    rows = min(max(1, SCORED_TOGETHER // lengths.whole), config.rollout_batch_size)
    fp32 = steps.Computing("fp32", course.given.on_gpu)
    for name, source in course.given.reward_models.items():
        if name not in learned(config.reward):
            weights += models.weight_bytes(models.language_model(source))
            continue
        scorer = models.scorer(source).eval()
        weights += models.weight_bytes(scorer)
        largest = max(largest, _scored(scorer, rows, lengths, fp32))
    return weights, largest


def _scored(scorer: Any, rows: int, lengths: steps.Lengths, fp32: steps.Computing) -> int:
    given = steps.padded(rows, lengths.whole)
    found: int = steps.forward([scorer], lambda: scorer(**given, use_cache=False), fp32)
    return found


def _rollout_tensors(config: OnPolicyConfig, lengths: steps.Lengths) -> int:
    """The experience, the optimizer step cut out of it, and that again as micro-batches."""
    row = 16 * lengths.whole + (1 + 6 * 4) * lengths.completion  # int64 ids and mask; bool; six floats
    weights = 2 * 4 * lengths.completion
    return config.rollout_batch_size * row + 2 * config.batch_size * (row + weights)
