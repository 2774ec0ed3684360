"""Completions of prompts: how good they are by the embedded world's own rules and by a reward model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class CompletionsBenchmark(Benchmark):
    """Complete prompts; measure gold score (embedded world), reward, win rate, EOS share."""

    kind: Literal["completions"]
    gold: bool = Field(False, description="the prompts are the embedded world's: score them exactly")
    max_new_tokens: int = Field(48, ge=1, le=MOST_LENGTH, description="longest completion, in tokens")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0: greedy")

    version = 2
    row_types = (RowType.PROMPT, RowType.PROMPT_COMPLETION)
    judged = True
    convention = (
        "One completion per prompt, sampled with the stage's seed. Reward: the reward model's raw score. "
        "Win rate: against the baseline model's completion of the same prompt; a tie counts ½."
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
        Measure("win_rate", "Win rate", "share of completions", baseline=0.5, even=True, judged=True),
        Measure("ended_share", "Ended by itself", "share of completions"),
    )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Gold score, reward, win rate against the baseline's rewards, and EOS share."""
        from tempering.generation.sampling import Sampling

        assert tools.policy is not None
        model = tools.policy

        # Complete every prompt.
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
        sampling = Sampling(self.max_new_tokens, temperature=self.temperature)
        answers = model.complete([model.prompt(prompt) for prompt in prompts], sampling, tools.seed)
        table: list[Row] = [
            {"row": number, "prompt": prompt[-1]["content"], "completion": text, "ended": ended}
            for number, (prompt, (text, ended)) in enumerate(zip(prompts, answers, strict=True))
        ]

        # Score the completions: exactly, and by the judge.
        if self.gold:
            _gold(table, findings)
        if tools.scorer is not None:
            texts, ended = [row["completion"] for row in table], [row["ended"] for row in table]
            rewards = tools.scorer(prompts, texts, ended=ended)
            for row, reward in zip(table, rewards, strict=True):
                row["reward"] = reward
            findings.add("reward", rewards)
            _win_rate(table, tools.baseline, findings)
        findings.add("ended_share", [float(row["ended"]) for row in table])
        findings.keep("completions", table)


def _gold(table: list[Row], findings: "Findings") -> None:
    from tempering.world import gold_score

    for row in table:
        score = gold_score(row["prompt"], row["completion"], row["ended"])
        row |= {"gold": score.total, "perfect": score.perfect}
    findings.add("gold_score", [row["gold"] for row in table])
    findings.add("perfect_share", [float(row["perfect"]) for row in table])


def _win_rate(table: list[Row], baseline: Mapping[int, Row], findings: "Findings") -> None:
    rewards = {row: other["reward"] for row, other in baseline.items() if other.get("reward") is not None}
    pairs = [(row["reward"], rewards[row["row"]]) for row in table if row["row"] in rewards]
    if pairs:
        wins = [1.0 if reward > base else 0.5 if reward == base else 0.0 for reward, base in pairs]
        findings.add("win_rate", wins)
