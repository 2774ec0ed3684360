"""The model card: what it was trained on, how, what was measured, and what it was made from.

Everything is read from manifests. Paths, user names, machines and the settings of other people's services
stay out: of settings only those in `_SETTINGS` are shown, of a local file its name.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tempering.artifacts.kinds import Artifact, DatasetArtifact, EvaluationArtifact, ModelArtifact
from tempering.artifacts.lineage import Branch, lineage
from tempering.artifacts.tables import read_rows
from tempering.data.shards import count_rows

if TYPE_CHECKING:
    from tempering.artifacts.store import Store

_SETTINGS = (
    "learning_rate", "lr_schedule", "warmup_fraction", "batch_size", "block_size", "num_epochs", "max_steps",
    "token_limit", "weight_decay", "precision", "beta", "loss_type", "center_rewards_coefficient", "kl_coef",
    "kl_control", "clip_range", "gae_lambda", "rollout_batch_size", "num_completions", "ppo_epochs",
    "temperature", "top_k", "top_p", "max_new_tokens", "value_init", "tolerance", "dtype", "seed",
)  # fmt: skip
_LIBRARIES = ("python", "torch", "transformers", "trl", "peft", "tokenizers")
_OWN_FAMILIES = ("lstm", "kgram")


def model_card(artifact: ModelArtifact, store: "Store", model_type: str) -> str:
    """README.md of an exported model.

    Args:
        model_type: the architecture, as its config.json names it.
    """
    branch = lineage(store, artifact)
    parts = [
        _front_matter(artifact, store),
        f"# {artifact.path.name}",
        _summary(artifact),
        "## Use",
        _use(artifact, model_type),
        "## Trained on",
        _data(branch),
        "## How",
        _chain(artifact, store),
        "## Results",
        _results(artifact, store),
        "## Lineage",
        "\n".join(_tree(branch)),
        "## Versions",
        ", ".join(f"{name} {artifact.manifest.versions[name]}" for name in _LIBRARIES
                  if name in artifact.manifest.versions),
        "## Licence",
        "Not stated. It is for whoever publishes the model to choose one that its data and its base allow.",
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(artifact: ModelArtifact, store: "Store") -> str:
    scores = artifact.details.get("head") == "score"
    lines = ["---", f"library_name: {'peft' if artifact.details.get('adapter') else 'transformers'}"]
    lines.append(f"pipeline_tag: {'text-classification' if scores else 'text-generation'}")
    lines.append(f"tags: [tempering, {_stage(artifact)}]")
    origin = next((one for one in models_of(artifact, store) if "source" in one.details), None)
    source = origin.details["source"] if origin is not None else None
    if isinstance(source, Mapping) and "hub" in source:
        lines.append(f"base_model: {source['hub']}")
    return "\n".join([*lines, "---"])


def _summary(artifact: ModelArtifact) -> str:
    manifest = artifact.manifest
    what = "a reward model" if artifact.details.get("head") == "score" else "a causal language model"
    if artifact.details.get("adapter"):
        what = f"a LoRA adapter for {what}"
    size = artifact.details.get("parameters", 0)
    at = f", at {artifact.checkpoint}" if artifact.checkpoint else ""
    return (
        f"The stage `{manifest.stage}` of Tempering made {what} of {size:,} parameters on "
        f"{manifest.created:.10} in {manifest.seconds:.0f} s on {manifest.device or 'cpu'}: "
        f"{manifest.tokens:,} tokens, seed {manifest.seed}{at}."
    )


def _use(artifact: ModelArtifact, model_type: str) -> str:
    lines = []
    if model_type in _OWN_FAMILIES:
        lines.append("import tempering.models  # registers this architecture; without it nothing loads")
    scores = artifact.details.get("head") == "score"
    auto = "AutoModelForSequenceClassification" if scores else "AutoModelForCausalLM"
    lines.append(f"from transformers import {auto}, AutoTokenizer\n")
    if artifact.details.get("adapter"):
        lines += ["from peft import PeftModel", f"base = {auto}.from_pretrained(BASE)  # see Lineage: model"]
        lines.append("model = PeftModel.from_pretrained(base, FOLDER)")
    else:
        lines.append(f"model = {auto}.from_pretrained(FOLDER)")
    lines.append("tokenizer = AutoTokenizer.from_pretrained(FOLDER)")
    code = "```python\n" + "\n".join(lines) + "\n```"
    notes = [code]
    if model_type in _OWN_FAMILIES:
        notes.append(
            f"`{model_type}` is a family of Tempering's own: install it, and `import tempering.models`."
        )
    if artifact.details.get("prompt_format") == "plain" and not scores:
        notes.append("It was trained on running text: give it a beginning, and it goes on. No chat template.")
    return "\n\n".join(notes)


def models_of(artifact: ModelArtifact, store: "Store") -> list[ModelArtifact]:
    """The models that led to this one, the first of them first."""
    chain = [artifact]
    while True:
        inputs = chain[0].manifest.inputs
        ref = inputs.get("adapter") or inputs.get("model")
        before = next((one for one in _present(store, ref.id)), None) if ref else None
        if not isinstance(before, ModelArtifact):
            return chain
        chain.insert(0, before)


def _present(store: "Store", ref: str) -> Iterator[Artifact]:
    from tempering.errors import ArtifactError

    try:
        yield store.get(ref, check=False)
    except ArtifactError:
        return


def _chain(artifact: ModelArtifact, store: "Store") -> str:
    lines = []
    for number, model in enumerate(models_of(artifact, store), start=1):
        manifest = model.manifest
        settings = [f"{key} {_value(value)}" for key, value in _shown(manifest.config).items()]
        source = model.details.get("source")
        if isinstance(source, Mapping):
            settings.insert(0, "from " + ", ".join(f"{key} {value}" for key, value in source.items()))
        tokens = f"{manifest.tokens:,} tokens" if manifest.tokens else ""
        lines.append(f"{number}. `{manifest.stage}`: " + "; ".join(filter(None, [tokens, *settings])))
    return "\n".join(lines)


def _shown(config: Mapping[str, Any]) -> dict[str, Any]:
    estimator = config.get("estimator")
    if isinstance(estimator, Mapping):  # PPO's and RLOO's settings; older manifests have them flat
        config = {**config, **estimator, "estimator": estimator.get("kind")}
    shown = {key: config[key] for key in _SETTINGS if config.get(key) is not None}
    architecture, adapter, reward = (config.get(key) for key in ("architecture", "adapter", "reward"))
    if isinstance(architecture, Mapping) and config.get("model") is None:
        shown = {"architecture": f"{architecture.get('kind')} {architecture.get('preset')}", **shown}
    if isinstance(adapter, Mapping):
        shown["LoRA rank"], shown["LoRA alpha"] = adapter.get("rank"), adapter.get("alpha")
    if isinstance(reward, Mapping):
        shown["reward"] = reward.get("kind")
    return shown


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _data(branch: Branch) -> str:
    used: dict[str, tuple[DatasetArtifact, list[str]]] = {}
    for stage, dataset in _datasets(branch):
        users = used.setdefault(dataset.id, (dataset, []))[1]
        users += [] if stage in users else [stage]
    if not used:
        return "Nothing that is still in the store."
    rows = [
        f"| {_stage_name(one)} | {one.row_type} | {count_rows(one.rows_path('train')):,} "
        f"| {count_rows(one.rows_path('eval')):,} | {_origin(one)} | {', '.join(users)} |"
        for one, users in used.values()
    ]
    head = ["| data set | rows of | train | held out | from | used by |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _datasets(branch: Branch, user: str = "") -> Iterator[tuple[str, DatasetArtifact]]:
    """(stage that learns from it, data set) in the tree below."""
    found = branch.artifact
    if isinstance(found, DatasetArtifact):
        yield user, found
    elif found is not None:
        if isinstance(found, ModelArtifact) or found.kind == "tokenizer":
            user = found.manifest.stage
        for below in branch.inputs:
            yield from _datasets(below, user)


def _origin(dataset: DatasetArtifact) -> str:
    config = dataset.manifest.config
    if config.get("hub"):
        return f"Hub {config['hub']}"
    if config.get("path"):
        paths = config["path"] if isinstance(config["path"], list | tuple) else [config["path"]]
        return f"{config.get('kind')}: " + ", ".join(
            str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths
        )
    return str(config.get("kind", ""))


def _stage_name(artifact: Artifact) -> str:
    return artifact.manifest.stage.removeprefix("dataset[").removesuffix("]")


def _stage(artifact: Artifact) -> str:
    return artifact.manifest.stage.split("[")[0]


def _results(artifact: ModelArtifact, store: "Store") -> str:
    """Its newest evaluation; without one what its own stage measured."""
    ref = artifact.ref
    for one in store.list():
        given = one.manifest.inputs.get("model")
        if isinstance(one, EvaluationArtifact) and given and given.payload_digest == ref.payload_digest:
            rows = read_rows(one.path / "metadata" / "metrics.parquet")
            lines = [
                f"| {row['benchmark']} | {row['metric']} | {_number(row['value'])} "
                f"| {_number(row['low'])} to {_number(row['high'])} | {row['n']} |"
                for row in rows
            ]
            head = [f"From `{one.id}`:\n", "| benchmark | metric | value | 95% interval | rows |",
                    "|---|---|---|---|---|"]  # fmt: skip
            return "\n".join([*head, *lines])
    if artifact.checkpoint or not artifact.manifest.metrics:
        return "Not evaluated."
    own = "\n".join(f"| {name} | {_number(value)} |" for name, value in artifact.manifest.metrics.items())
    return f"Not evaluated. Its own stage ended with\n\n| metric | value |\n|---|---|\n{own}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _tree(branch: Branch, depth: int = 0, seen: set[str] | None = None) -> Iterator[str]:
    """One line an artifact; what is below one is shown where it comes first."""
    seen = set() if seen is None else seen
    role = f"{branch.role}: " if branch.role else ""
    if branch.artifact is None:
        note = " (no longer in the store)"
    elif branch.rebuilt:
        note = " (made again since, with another payload)"
    else:
        note = f" `{branch.artifact.fingerprint[:16]}`"
    known = branch.id in seen and bool(branch.inputs)
    yield f"{'  ' * depth}- {role}{branch.id}{', as above' if known else note}"
    if not known:
        seen.add(branch.id)
        for below in branch.inputs:
            yield from _tree(below, depth + 1, seen)
