"""The model card: what the model was trained on and how, its scores, and what it was made from.

Everything is read from manifests. Paths, user names, machines and the settings of other people's services
stay out: only the settings in `_SETTINGS` are shown, and of a local file only its name.
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
    *("learning_rate", "lr_schedule", "warmup_fraction", "batch_size", "block_size", "num_epochs"),
    *("max_steps", "token_limit", "weight_decay", "precision", "beta", "loss_type"),
    *("center_rewards_coefficient", "kl_coef", "kl_control", "clip_range", "gae_lambda"),
    *("rollout_batch_size", "num_completions", "ppo_epochs", "temperature", "top_k", "top_p"),
    *("max_new_tokens", "value_init", "tolerance", "dtype", "seed"),
)
_LIBRARIES = ("python", "torch", "transformers", "trl", "peft", "tokenizers")
_OWN_FAMILIES = ("lstm", "kgram")


def model_card(artifact: ModelArtifact, store: "Store", model_type: str) -> str:
    """README.md of an exported model.

    Args:
        model_type: the architecture, as its config.json names it.
    """
    branch = lineage(store, artifact)
    versions = artifact.manifest.versions
    # Front matter and title, then a section per question a reader has; empty parts are left out.
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
        ", ".join(f"{name} {versions[name]}" for name in _LIBRARIES if name in versions),
        "## Licence",
        "Not stated. It is for whoever publishes the model to choose one that its data and its base allow.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(artifact: ModelArtifact, store: "Store") -> str:
    scores = artifact.details.get("head") == "score"
    lines = ["---", f"library_name: {'peft' if artifact.details.get('adapter') else 'transformers'}"]
    lines.append(f"pipeline_tag: {'text-classification' if scores else 'text-generation'}")
    lines.append(f"tags: [tempering, {_stage(artifact)}]")
    origin = next((model for model in models_of(artifact, store) if "source" in model.details), None)
    source = origin.details["source"] if origin is not None else None
    if isinstance(source, Mapping) and "hub" in source:
        lines.append(f"base_model: {source['hub']}")
    return "\n".join([*lines, "---"])


def _summary(artifact: ModelArtifact) -> str:
    manifest = artifact.manifest
    kind = "a reward model" if artifact.details.get("head") == "score" else "a causal language model"
    if artifact.details.get("adapter"):
        kind = f"a LoRA adapter for {kind}"
    size = artifact.details.get("parameters", 0)
    checkpoint = f", at {artifact.checkpoint}" if artifact.checkpoint else ""
    return (
        f"The stage `{manifest.stage}` of Tempering made {kind} of {size:,} parameters on "
        f"{manifest.created:.10} in {manifest.seconds:.0f} s on {manifest.device or 'cpu'}: "
        f"{manifest.tokens:,} tokens, seed {manifest.seed}{checkpoint}."
    )


def _use(artifact: ModelArtifact, model_type: str) -> str:
    # The code that loads it: with its family, its head, and its base if it is an adapter.
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
    # What the code does not say.
    code = "```python\n" + "\n".join(lines) + "\n```"
    notes = [code]
    if model_type in _OWN_FAMILIES:
        notes.append(
            f"`{model_type}` is a model family of Tempering: install it, and `import tempering.models`."
        )
    if artifact.details.get("prompt_format") == "plain" and not scores:
        notes.append(
            "It was trained on running text and continues whatever you give it. It has no chat template."
        )
    return "\n\n".join(notes)


def models_of(artifact: ModelArtifact, store: "Store") -> list[ModelArtifact]:
    """The models that led to this one, oldest first."""
    chain = [artifact]
    while True:
        inputs = chain[0].manifest.inputs
        ref = inputs.get("adapter") or inputs.get("model")
        parent = next(_present(store, ref.id), None) if ref else None
        if not isinstance(parent, ModelArtifact):
            return chain
        chain.insert(0, parent)


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
    if isinstance(estimator, Mapping):  # settings of PPO and RLOO; older manifests have them flat
        config = {**config, **estimator, "estimator": estimator.get("kind")}
    settings = {key: config[key] for key in _SETTINGS if config.get(key) is not None}
    architecture, adapter, reward = (config.get(key) for key in ("architecture", "adapter", "reward"))
    if isinstance(architecture, Mapping) and config.get("model") is None:
        settings = {"architecture": f"{architecture.get('kind')} {architecture.get('preset')}", **settings}
    if isinstance(adapter, Mapping):
        settings["LoRA rank"], settings["LoRA alpha"] = adapter.get("rank"), adapter.get("alpha")
    if isinstance(reward, Mapping):
        settings["reward"] = reward.get("kind")
    return settings


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _data(branch: Branch) -> str:
    datasets: dict[str, tuple[DatasetArtifact, list[str]]] = {}
    for stage, dataset in _datasets(branch):
        users = datasets.setdefault(dataset.id, (dataset, []))[1]
        users += [] if stage in users else [stage]
    if not datasets:
        return "Nothing that is still in the store."
    rows = [
        f"| {_stage_name(dataset)} | {dataset.row_type} | {count_rows(dataset.rows_path('train')):,} "
        f"| {count_rows(dataset.rows_path('eval')):,} | {_origin(dataset)} | {', '.join(users)} |"
        for dataset, users in datasets.values()
    ]
    head = ["| data set | rows of | train | held out | from | used by |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _datasets(branch: Branch, user: str = "") -> Iterator[tuple[str, DatasetArtifact]]:
    """(stage that learns from it, data set) of each data set in the tree."""
    artifact = branch.artifact
    if isinstance(artifact, DatasetArtifact):
        yield user, artifact
    elif artifact is not None:
        if isinstance(artifact, ModelArtifact) or artifact.kind == "tokenizer":
            user = artifact.manifest.stage
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
    """Its newest evaluation, else what its own stage measured."""
    # The store lists the newest artifact first.
    ref = artifact.ref
    for evaluation in store.list():
        model = evaluation.manifest.inputs.get("model")
        if (
            isinstance(evaluation, EvaluationArtifact)
            and model
            and model.payload_digest == ref.payload_digest
        ):
            rows = read_rows(evaluation.path / "metadata" / "metrics.parquet")
            lines = [
                f"| {row['benchmark']} | {row['metric']} | {_number(row['value'])} "
                f"| {_number(row['low'])} to {_number(row['high'])} | {row['n']} |"
                for row in rows
            ]
            head = ["| benchmark | metric | value | 95% interval | rows |", "|---|---|---|---|---|"]
            return "\n".join([f"From `{evaluation.id}`:\n", *head, *lines])
    # The metrics of a stage are those of its last weights, not of a checkpoint.
    if artifact.checkpoint or not artifact.manifest.metrics:
        return "Not evaluated."
    own = "\n".join(f"| {name} | {_number(value)} |" for name, value in artifact.manifest.metrics.items())
    return f"Not evaluated. Its own stage ended with\n\n| metric | value |\n|---|---|\n{own}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _tree(branch: Branch, depth: int = 0, ids: set[str] | None = None) -> Iterator[str]:
    """One line per artifact; its inputs are shown once, where it comes first."""
    ids = set() if ids is None else ids
    role = f"{branch.role}: " if branch.role else ""
    if branch.artifact is None:
        note = " (no longer in the store)"
    elif branch.rebuilt:
        note = " (made again since, with another payload)"
    else:
        note = f" `{branch.artifact.fingerprint[:16]}`"
    repeated = branch.id in ids and bool(branch.inputs)
    yield f"{'  ' * depth}- {role}{branch.id}{', as above' if repeated else note}"
    if not repeated:
        ids.add(branch.id)
        for below in branch.inputs:
            yield from _tree(below, depth + 1, ids)
