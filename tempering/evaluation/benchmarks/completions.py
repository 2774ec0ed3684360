"""Completions of prompts: how good they are by the embedded world's own rules and by a reward model."""

from math import isfinite
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH, added_field
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.against import (
    LENGTH_MEASURES,
    add_lengths,
    add_mean,
    add_outcomes,
    outcome_measures,
    partners,
    same,
)
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings

Messages = list[dict[str, str]]


class CompletionsBenchmark(Benchmark):
    """Complete prompts; measure gold score (embedded world), reward and length, also beside the baseline."""

    kind: Literal["completions"]
    gold: bool = Field(False, description="the prompts are the embedded world's: score them exactly")
    judge: str | None = added_field(
        None, description="a reward model that nothing was trained on scores them too, beside evaluate's"
    )
    max_new_tokens: int = Field(48, ge=1, le=MOST_LENGTH, description="longest completion, in tokens")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0: greedy")

    version = 4
    row_types = (RowType.PROMPT, RowType.PROMPT_COMPLETION)
    judged = True
    convention = (
        "One completion per prompt, sampled with the stage's seed. Reward: the reward model's raw score; of "
        "one that classifies, positive share: scores above 0, the logit of label 1. "
        "Against the baseline model's completion of the same prompt: the higher reward wins; equal rewards "
        "and equal completions tie, and a tie counts ½. Win rate at equal length: AlpacaEval 2's, with tanh "
        "of the standardised difference in characters, without its difficulty of each prompt. Truncated is "
        "what did not end by itself. `judge`: the raw score of a second reward model."
    )
    metrics = (
        Measure("gold_score", "Gold score", "0 to 1 per completion", rank=0),
        Measure("perfect_share", "Perfect stories", "share of completions"),
        Measure(
            "reward",
            "Reward",
            "logit per completion",
            rank=1,
            judged=True,
            caveat=(
                "Reward is what the aligned stages were trained on: it says that they learned, not that they "
                "are good."
            ),
        ),
        Measure("judge_score", "Score by the second judge", "logit per completion"),
        Measure("positive_share", "Positive share", "share of completions", rank=0, judged=True),
        Measure(
            "reference_reward", "Reward of the baseline", "logit per completion", judged=True, relative=True
        ),
        Measure(
            "reward_gain",
            "Reward over the baseline's",
            "logit per completion",
            baseline=0.0,
            even=True,
            judged=True,
            relative=True,
        ),
        *outcome_measures(judged=True),
        *LENGTH_MEASURES,
    )

    @property
    def scorer_names(self) -> tuple[str, ...]:
        """The second judge."""
        return () if self.judge is None else (self.judge,)

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Gold score, scores and lengths; rewards and lengths also against the baseline's."""
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
        table = completed(prompts, tools, self.max_new_tokens, self.temperature)
        pairs = [*zip(table, partners(table, tools.baseline), strict=True)]
        if self.gold:
            _gold(table, findings)
        texts, ended = [row["completion"] for row in table], [row["ended"] for row in table]
        if tools.scorer is not None:
            rewards = tools.scorer(prompts, texts, ended=ended)
            for row, reward in zip(table, rewards, strict=True):
                row["reward"] = reward
            _rewards(pairs, findings)
            if tools.scorer.classifies:
                positive = [float(reward > 0) if isfinite(reward) else None for reward in rewards]
                findings.add("positive_share", positive)
        if self.judge is not None:
            from tempering.evaluation.judges.reward_model import scores_by

            scores = scores_by(self.judge, tools, prompts, texts, ended)
            for row, score in zip(table, scores, strict=True):
                row["judge_score"] = score
            add_mean(findings, "judge_score", scores)
        add_lengths(findings, pairs)
        findings.keep("completions", table)


def completed(prompts: list[Messages], tools: Tools, max_new_tokens: int, temperature: float) -> list[Row]:
    """The policy's completion of each prompt, as rows of the table `completions`."""
    from tempering.generation.sampling import Sampling

    assert tools.policy is not None
    model = tools.policy
    sampling = Sampling(max_new_tokens, temperature=temperature)
    answers = model.complete([model.prompt(prompt) for prompt in prompts], sampling, tools.seed)
    return [
        {"row": number, "prompt": prompt[-1]["content"], "completion": text, "ended": ended}
        for number, (prompt, (text, ended)) in enumerate(zip(prompts, answers, strict=True))
    ]


def _gold(table: list[Row], findings: "Findings") -> None:
    from tempering.world import gold_score

    for row in table:
        score = gold_score(row["prompt"], row["completion"], row["ended"])
        row |= {"gold": score.total, "perfect": score.perfect}
    findings.add("gold_score", [row["gold"] for row in table])
    findings.add("perfect_share", [float(row["perfect"]) for row in table])


def _rewards(pairs: list[tuple[Row, Row | None]], findings: "Findings") -> None:
    """Ours, the baseline's, and what comes of them prompt by prompt."""
    add_mean(findings, "reward", [row["reward"] for row, _ in pairs])
    theirs = [None if other is None else other.get("reward") for _, other in pairs]
    gains = [_gain(row, other) for row, other in pairs]
    points = [None if gain is None else (gain > 0) + (gain == 0) / 2 for gain in gains]
    add_outcomes(findings, points, pairs)
    add_mean(findings, "reference_reward", theirs)
    add_mean(findings, "reward_gain", gains)


def _gain(row: Row, other: Row | None) -> float | None:
    reward = None if other is None else other.get("reward")
    if other is None or reward is None or not isfinite(reward) or not isfinite(row["reward"]):
        return None
    return 0.0 if same(row, other) else float(row["reward"] - reward)
