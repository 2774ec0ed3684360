"""Family x stage: parameters, loss before and after, seconds. The quickstart, once for each family.

    python benchmarks/families.py --store /tmp/families            # transformer, lstm, kgram
    python benchmarks/families.py --family lstm pretrain.learning_rate=2e-3

Each family is one `temper run` of its own, one after the other; what the store has already is reused, so
the data sets are made once and an interrupted table goes on. Prints Markdown.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tempering.artifacts.kinds import Artifact, ModelArtifact
from tempering.artifacts.runs import RunRecord
from tempering.artifacts.store import Store

FAMILIES = {
    "transformer": [],
    "gpt2": ["pretrain.architecture.model_type=gpt2"],
    "qwen2": ["pretrain.architecture.model_type=qwen2"],
    "lstm": ["pretrain.architecture.kind=lstm"],
    "kgram": ["pretrain.architecture.kind=kgram"],
}
TRAINED = ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")
MEASURES = {"ppo": "score", "rloo": "score"}  # what on-policy training is after is no loss
HEAD = "| family | stage | parameters | measure | before | after | tokens | seconds |"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=Path("/tmp/families"))
    parser.add_argument("--family", action="append", choices=[*FAMILIES])
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", help="key=value, for every family")
    arguments = parser.parse_args()
    lines = [HEAD, "|---|---|--:|---|--:|--:|--:|--:|"]
    for family in arguments.family or ["transformer", "lstm", "kgram"]:
        run = temper(arguments.config, arguments.store, [*FAMILIES[family], *arguments.overrides])
        lines += rows(family, run, Store(arguments.store))
    print("\n".join(lines))


def temper(config: str, store: Path, overrides: list[str]) -> RunRecord:
    """One run of the pipeline in a process of its own; its record."""
    command = [
        str(Path(sys.executable).with_name("temper")),
        "run",
        config,
        "--store",
        str(store),
        *overrides,
    ]
    subprocess.run(command, check=True, stdout=sys.stderr)
    run = Store(store).runs.last_run()
    assert run is not None, "it has just run"
    return run


def rows(family: str, run: RunRecord, store: Store) -> list[str]:
    """The lines of a family's trained stages."""
    found = [(stage, run.stages[stage].artifact) for stage in TRAINED if stage in run.stages]
    return [row(family, stage, store.get(artifact)) for stage, artifact in found if artifact]


def row(family: str, stage: str, artifact: Artifact) -> str:
    """A line: the measure is the mean over the first fiftieth and over the last tenth of the logged steps."""
    assert isinstance(artifact, ModelArtifact)
    measure = MEASURES.get(stage, "loss")
    curve = artifact.read("training_stats")[measure]
    before, after = curve[: max(1, len(curve) // 50)].mean(), curve[-max(1, len(curve) // 10) :].mean()
    made = artifact.manifest
    return (
        f"| {family} | {stage} | {artifact.details['parameters']:,} | {measure} "
        f"| {before:.3f} | {after:.3f} | {made.tokens:,} | {made.seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
