"""Best-of-n: what choosing by the reward model gains without any training, and where gold turns.

Of n completions the one is kept that the reward model scores highest. The more there are, the further the
choice is from the policy, by a KL that is known exactly: the yardstick beside the curve of a training (Gao et
al. 2022, https://arxiv.org/abs/2210.10760). The maths is in `tempering.evaluation.overoptimisation`.
"""

import math
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from tempering.config import MOST_LENGTH
from tempering.data.rows import RowType
from tempering.errors import ConfigError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings

Messages = list[dict[str, str]]


class BestOfNBenchmark(Benchmark):
    """Proxy and gold of the best of n completions by the reward model, n = 1, 2, 4, ... `samples`."""

    kind: Literal["best_of_n"]
    samples: int = Field(64, ge=2, le=4096, description="completions per prompt, and the largest n")
    gold: bool = Field(False, description="gold is the embedded world's exact score")
    judge: str | None = Field(
        None, description="gold is the score of this reward model, which nothing was trained on; or set gold"
    )
    beside: str | None = Field(
        None, description="benchmark whose curve of a training this one is drawn beside; null: on its own"
    )
    max_new_tokens: int = Field(48, ge=1, le=MOST_LENGTH, description="longest completion, in tokens")
    temperature: float = Field(1.0, gt=0, description="sampling temperature")

    row_types = (RowType.PROMPT, RowType.PROMPT_COMPLETION)
    judged = True
    convention = (
        "`samples` completions per prompt with the stage's seed. The best of n is the one that the reward "
        "model of `evaluate` scores highest; each value is the mean over all choices of n of them, without "
        "bias, then over prompts. Its KL to the policy is ln n - (n - 1)/n, exact where no two completions "
        "are equal."
    )
    metrics = (
        Measure("best_proxy", "Reward of the best of n", "logit per prompt, n = `samples`", judged=True),
        Measure("best_gold", "Gold of the best of n", "per prompt, n = `samples`", judged=True, named=True),
        Measure(
            "gold_gain",
            "Gold gained by the best of n",
            "per prompt, over one completion",
            judged=True,
            named=True,
        ),
    )

    @model_validator(mode="after")
    def _one_gold(self) -> Self:
        if self.gold == (self.judge is not None):
            raise ValueError("gold is the world's score (gold: true) or a second judge's: set one of the two")
        return self

    @property
    def scorer_names(self) -> tuple[str, ...]:
        """The second judge."""
        return () if self.judge is None else (self.judge,)

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Sample, score by both judges, and choose; the curve over n is in `overoptimisation.parquet`."""
        import numpy as np

        from tempering.evaluation import overoptimisation as maths

        # Every prompt `samples` times, and both scores of each completion.
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows for _ in range(self.samples)]
        texts, ended = self._completions(prompts, tools)
        proxies, golds = self._scores(prompts, texts, ended, tools)
        shape = len(rows), self.samples
        proxy, gold = (np.asarray(values, dtype=float).reshape(shape) for values in (proxies, golds))

        # Each prompt's best of n, over all choices.
        curve = [
            maths.Sample(
                np.array([_best(*line, n) for line in zip(proxy, proxy, strict=True)]),
                np.array([_best(*line, n) for line in zip(proxy, gold, strict=True)]),
                maths.best_of_n_kl(n),
                best_of=n,
            )
            for n in sizes(self.samples)
        ]
        about = {
            "model": _path_of(tools),
            "benchmark": self.beside or findings.name,
            "gold_metric": "gold_score" if self.gold else "judge_score",
        }
        findings.keep("overoptimisation", ({**about, **row} for row in maths.point_rows(curve)))
        findings.add("best_proxy", [*curve[-1].proxy])
        findings.add("best_gold", [*curve[-1].gold])
        findings.add("gold_gain", [*(curve[-1].gold - curve[0].gold)])

    def _completions(self, prompts: list[Messages], tools: Tools) -> tuple[list[str], list[bool]]:
        from tempering.generation.sampling import Sampling

        model = tools.policy
        assert model is not None
        sampling = Sampling(self.max_new_tokens, temperature=self.temperature)
        cut = model.cut
        answers = model.complete([model.prompt(prompt) for prompt in prompts], sampling, tools.seed)
        model.cut = cut + (model.cut - cut) // self.samples  # a prompt that is cut counts once
        return [text for text, _ in answers], [ended for _, ended in answers]

    def _scores(
        self, prompts: list[Messages], texts: list[str], ended: list[bool], tools: Tools
    ) -> tuple[list[float], list[float]]:
        """Proxy and gold of each completion.

        Raises:
            ConfigError: there is no reward model to choose by.
        """
        if tools.scorer is None:
            raise ConfigError(
                "best_of_n has no reward model to choose by",
                expected="evaluate.reward_model: the one that policies are trained on",
                fix="set it, or remove the benchmark",
            )
        from tempering.evaluation.judges.reward_model import scores_by
        from tempering.world import gold_score

        proxies = list(tools.scorer(prompts, texts, ended=ended))
        if self.judge is not None:
            return proxies, scores_by(self.judge, tools, prompts, texts, ended)

        asked = [prompt[-1]["content"] for prompt in prompts]
        return proxies, [gold_score(*item).total for item in zip(asked, texts, ended, strict=True)]


def _path_of(tools: Tools) -> str:
    """Whose curve it is: `best_of_n`, of a model that is aligned already with its stage's name."""
    manifest = None if tools.model is None else tools.model.manifest
    aligned = manifest is not None and manifest.hashed.get("stage") in ("dpo", "ppo", "rloo")
    return f"best_of_n {manifest.stage}" if aligned and manifest else "best_of_n"


def sizes(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return sorted({2**power for power in range(most.bit_length()) if 2**power <= most} | {most})


def _best(proxy: Any, values: Any, n: int) -> float:
    """The best of n of those that were scored; NaN where they are fewer."""
    import numpy as np

    from tempering.evaluation.overoptimisation import best_of_n

    scored = ~(np.isnan(proxy) | np.isnan(values))
    return best_of_n(proxy[scored], values[scored], n) if scored.sum() >= n else math.nan
