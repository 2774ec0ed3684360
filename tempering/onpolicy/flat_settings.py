"""Settings of an estimator that stand beside it: `rloo: {estimator: grpo, clip_range: 0.1}`.

Recipes from before estimators had settings of their own are written like this, and so are those of other
libraries. They are moved at the door; what is hashed is still flat, so that no fingerprint moves.
"""

from typing import Any, get_args

from tempering.config import Tree
from tempering.onpolicy.estimators import AnyEstimator, Estimator

KINDS: dict[str, type[Estimator]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(get_args(AnyEstimator)[0])
}
FLAT = tuple(dict.fromkeys(name for kind in KINDS.values() for name in kind.model_fields if name != "kind"))
"""Settings of any estimator."""


def nested(settings: Any, default: str) -> Any:
    """A stage's settings with those of its estimator inside `estimator`.

    Args:
        default: kind of the estimator where none is named.

    Raises:
        ValueError: a setting stands in both places, or the estimator does not read it.
    """
    if not isinstance(settings, dict):
        return settings
    # the estimator by its name, as an object, or as a mapping
    estimator = settings.get("estimator", default)
    if isinstance(estimator, str):
        estimator = {"kind": estimator}
    elif isinstance(estimator, Estimator):
        estimator = {"kind": estimator.kind, **estimator.model_dump(exclude_unset=True)}
    if not isinstance(estimator, dict):
        return settings  # pydantic says what it may be
    estimator = {"kind": default, **estimator}
    # its settings that stand beside it move inside; a default that it does not read is dropped
    flat = {name: value for name, value in settings.items() if name in FLAT}
    others = {name: value for name, value in settings.items() if name not in FLAT}
    kind = KINDS.get(str(estimator["kind"]))
    if kind is None:
        return {**others, "estimator": estimator}  # pydantic says which ones there are
    for name, value in flat.items():
        _check(name, value, kind, estimator)
    moved = {name: value for name, value in flat.items() if name in kind.model_fields}
    return {**kind.published, **others, "estimator": {**estimator, **moved}}


_ALWAYS = ("clip_range", "normalize_advantages")


def _check(name: str, value: Any, kind: type[Estimator], estimator: Tree) -> None:
    """Refuse a flat setting that `estimator` has too, or does not read.

    `_ALWAYS` stood in every config of rloo, so that a printed one has them: their defaults say nothing.
    """
    if name in estimator:
        raise ValueError(f"{name} and estimator.{name} are two names for one setting: set one")
    readers = [reader for reader, fields in KINDS.items() if name in fields.model_fields]
    default = KINDS[readers[0]].model_fields[name].default
    if name not in kind.model_fields and (value != default or name not in _ALWAYS):
        raise ValueError(
            f"{name} is set, and estimator {estimator['kind']} does not read it: "
            f"it is for {' and '.join(readers)}"
        )


def flattened(tree: Tree) -> Tree:
    """An identity with the estimator's settings beside the stage's, and `estimator` its kind alone."""
    estimator = tree.get("estimator")
    if not isinstance(estimator, dict):
        return tree  # made without validation
    settings = {name: value for name, value in estimator.items() if name != "kind"}
    if "version" in settings:  # the stage's config may have one too
        settings["estimator_version"] = settings.pop("version")
    assert not settings.keys() & tree.keys(), "an estimator's setting has the name of a stage's"
    return {**tree, "estimator": estimator["kind"], **settings}
