"""What README's table "Extending it" tells people to write: one file each, and one edit beside it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Addition:
    """One thing that is added: a new file, or none, and edits (file, old, new)."""

    row: str
    """The first cell of its row in README's table."""
    file: str
    text: str
    edits: tuple[tuple[str, str, str], ...] = ()

    @property
    def touched(self) -> set[str]:
        """Every file that is written or edited."""
        return {file for file in (self.file, *(edit[0] for edit in self.edits)) if file}


STAGE = Addition(
    "a stage",
    "tasks/noise.py",
    '''"""noise: a model with noise on its weights."""

import shutil

from pydantic import Field

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.config import StageConfig, runtime_field


class NoiseConfig(StageConfig):
    """How much noise."""

    model: str = runtime_field("sft", description="stage or artifact to start from")
    scale: float = Field(0.01, ge=0, description="standard deviation of the noise")


@stage("noise", version=1, makes=ModelArtifact, label="Noisy", trains=True)
def noise(out: Draft, config: NoiseConfig, *, model: ModelArtifact) -> Summary:
    """Add noise to every weight."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(model.model_dir, out.model_dir, dirs_exist_ok=True)
    torch.manual_seed(0)
    weights = out.model_dir / "model.safetensors"
    tensors = load_file(weights)
    noisy = {name: tensor + config.scale * torch.randn_like(tensor) for name, tensor in tensors.items()}
    save_file(noisy, weights, metadata={"format": "pt"})
    out.details |= {key: model.details[key] for key in ("tokenizer", "prompt_format", "head")}
    return {"scale": config.scale}
''',
)

REWARD = Addition(
    "a reward",
    "tempering/rewards/vowels.py",
    '''"""vowels: the share of vowels in a completion."""

from typing import Any, Literal

from pydantic import Field

from tempering.rewards.base import Parts, Reward
from tempering.rewards.scoring import RewardFunction


class VowelsReward(Reward):
    """The share of a completion's letters that are vowels."""

    kind: Literal["vowels"]
    vowels: str = Field("aeiou", description="which letters count")

    def build(self, parts: Parts) -> RewardFunction:
        """Scores in [0, 1]."""

        def score(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
            return [sum(char in self.vowels for char in text) / max(1, len(text)) for text in completions]

        return score
''',
    (
        (
            "tempering/rewards/config.py",
            "from tempering.rewards.base import",
            "from tempering.rewards.vowels import VowelsReward\nfrom tempering.rewards.base import",
        ),
        ("tempering/rewards/config.py", "AnyReward = ", "AnyReward = VowelsReward | "),
    ),
)

_ESTIMATORS = "tempering/onpolicy/estimators.py"
_BEST = '''class BestOfGroup(ClippedRatio):
    """Advantage 1 for the best of a group, 0 for the others."""

    kind: Literal["best"] = "best"
    compares = True

    def advantages(self, outcome: Outcome) -> tuple["Tensor", "Tensor"]:
        groups = outcome.groups
        return _on_tokens((groups == groups.max(1, keepdim=True).values).float().view(-1), outcome)


AnyEstimator ='''

ESTIMATOR = Addition(
    "an estimator",
    "",
    "",
    (
        (_ESTIMATORS, "AnyEstimator =", _BEST),
        (_ESTIMATORS, "    LeaveOneOut |", "    BestOfGroup | LeaveOneOut |"),
    ),
)

BUILDER = Addition(
    "a data set builder",
    "tempering/data/builders/haiku.py",
    '''"""haiku: poems as lists of lines."""

from typing import Literal

from tempering.data.builders.base import FileBuilderConfig, Note, Record
from tempering.data.rows import RowType, Values


class HaikuConfig(FileBuilderConfig):
    """Rows of text, a line of the poem per line."""

    kind: Literal["haiku"] = "haiku"

    @property
    def row_type(self) -> RowType:
        """Text."""
        return RowType.TEXT

    def normalise(self, record: Record, note: Note) -> Values:
        """One text per poem."""
        return {"text": "\\n".join(record["lines"])}
''',
    (
        (
            "tempering/data/builders/__init__.py",
            "from tempering.data.builders.hh import",
            "from tempering.data.builders.haiku import HaikuConfig\nfrom tempering.data.builders.hh import",
        ),
        (
            "tempering/data/builders/__init__.py",
            "Builder = Annotated[",
            "Builder = Annotated[HaikuConfig |",
        ),
    ),
)

BENCHMARK = Addition(
    "a benchmark",
    "tempering/evaluation/benchmarks/vocabulary.py",
    '''"""How many different words a model's completions have."""

from typing import TYPE_CHECKING, Literal

from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class VocabularyBenchmark(Benchmark):
    """Different words per prompt."""

    kind: Literal["vocabulary"]

    row_types = (RowType.PROMPT,)
    convention = "Words are what spaces separate."
    metrics = (Measure("different_words", "Different words", "words"),)

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Of the prompts themselves: this is a test."""
        findings.add("different_words", [float(len(set(str(row["prompt"]).split()))) for row in rows])
''',
    (
        (
            "tempering/evaluation/benchmarks/__init__.py",
            "from tempering.evaluation.benchmarks.completions import",
            "from tempering.evaluation.benchmarks.vocabulary import VocabularyBenchmark\n"
            "from tempering.evaluation.benchmarks.completions import",
        ),
        (
            "tempering/evaluation/benchmarks/__init__.py",
            "AnyBenchmark = Annotated[",
            "AnyBenchmark = Annotated[\n    VocabularyBenchmark |",
        ),
    ),
)

ADDITIONS = (STAGE, REWARD, ESTIMATOR, BUILDER, BENCHMARK)
