"""Benchmarks: each is one class that describes itself and runs.

To add one, write one file with a class (see `base`) and put it into the `AnyBenchmark` union.
"""

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import Field

from tempering.evaluation.benchmarks.base import Benchmark, Measure, Tools
from tempering.evaluation.benchmarks.best_of_n import BestOfNBenchmark
from tempering.evaluation.benchmarks.comparison import ComparisonBenchmark
from tempering.evaluation.benchmarks.completions import CompletionsBenchmark
from tempering.evaluation.benchmarks.diversity import DiversityBenchmark
from tempering.evaluation.benchmarks.finetuning import FinetuningBenchmark
from tempering.evaluation.benchmarks.harness import HarnessBenchmark
from tempering.evaluation.benchmarks.kl_divergence import KLDivergenceBenchmark
from tempering.evaluation.benchmarks.minimal_pairs import MinimalPairsBenchmark
from tempering.evaluation.benchmarks.multiple_choice import MultipleChoiceBenchmark
from tempering.evaluation.benchmarks.perplexity import PerplexityBenchmark
from tempering.evaluation.benchmarks.preferences import PreferencesBenchmark
from tempering.evaluation.benchmarks.questions import QuestionsBenchmark
from tempering.evaluation.benchmarks.reading_times import ReadingTimesBenchmark
from tempering.evaluation.benchmarks.reward_bench import RewardBenchBenchmark
from tempering.evaluation.benchmarks.word_forms import WordFormsBenchmark

__all__ = [
    "BENCHMARKS",
    "AnyBenchmark",
    "Benchmark",
    "BestOfNBenchmark",
    "ComparisonBenchmark",
    "CompletionsBenchmark",
    "DiversityBenchmark",
    "FinetuningBenchmark",
    "HarnessBenchmark",
    "KLDivergenceBenchmark",
    "Measure",
    "MinimalPairsBenchmark",
    "MultipleChoiceBenchmark",
    "PerplexityBenchmark",
    "PreferencesBenchmark",
    "QuestionsBenchmark",
    "ReadingTimesBenchmark",
    "RewardBenchBenchmark",
    "Tools",
    "WordFormsBenchmark",
]

AnyBenchmark = Annotated[
    CompletionsBenchmark
    | ComparisonBenchmark
    | KLDivergenceBenchmark
    | DiversityBenchmark
    | PerplexityBenchmark
    | QuestionsBenchmark
    | MinimalPairsBenchmark
    | MultipleChoiceBenchmark
    | PreferencesBenchmark
    | RewardBenchBenchmark
    | WordFormsBenchmark
    | ReadingTimesBenchmark
    | FinetuningBenchmark
    | BestOfNBenchmark
    | HarnessBenchmark,
    Field(discriminator="kind"),
]

BENCHMARKS: Mapping[str, type[Benchmark]] = {
    benchmark.kind_name(): benchmark for benchmark in get_args(get_args(AnyBenchmark)[0])
}
"""Every benchmark of the union by its `kind`."""
