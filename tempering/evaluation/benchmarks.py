"""The benchmarks: rows and a model in, metrics and per-row scores out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tempering.data.answers import exact_match, f1
from tempering.evaluation.config import (
    Benchmark,
    CompletionsBenchmark,
    MinimalPairsBenchmark,
    PerplexityBenchmark,
    PreferencesBenchmark,
    QuestionsBenchmark,
)
from tempering.evaluation.metrics import Metric, mean_metric
from tempering.generation.language_model import LanguageModel
from tempering.generation.sampling import Sampling
from tempering.rewards.learned import LearnedReward

Row = dict[str, Any]


@dataclass
class Findings:
    """What the benchmarks of one model found."""

    metrics: list[Metric] = field(default_factory=list)
    scores: list[Row] = field(default_factory=list)  # benchmark, row, metric, value
    completions: list[Row] = field(default_factory=list)

    def add(self, name: str, values: Sequence[float | None], benchmark: str, **more: Any) -> None:
        """One metric from its per-row values, which are kept too (for paired comparisons)."""
        self.metrics.append(mean_metric(name, values, benchmark, **more))
        self.scores += [
            {"benchmark": benchmark, "metric": name, "row": row, "value": value}
            for row, value in enumerate(values)
        ]


@dataclass(frozen=True)
class Tools:
    """What a benchmark may use: exactly one of `policy` and `scorer` is the evaluated model."""

    policy: LanguageModel | None
    scorer: LearnedReward | None
    seed: int
    baseline: dict[tuple[str, int], float]  # (benchmark, row) -> reward of the baseline's completion
    evaluates_scorer: bool = False


def run_benchmark(name: str, config: Benchmark, rows: list[Row], tools: Tools, found: Findings) -> None:
    """Run one benchmark where it applies to the kind of model; a reward model only orders pairs."""
    if tools.evaluates_scorer != isinstance(config, PreferencesBenchmark):
        return
    match config:
        case CompletionsBenchmark():
            completions(name, config, rows, tools, found)
        case PerplexityBenchmark():
            perplexity(name, config, rows, tools, found)
        case QuestionsBenchmark():
            questions(name, config, rows, tools, found)
        case MinimalPairsBenchmark():
            minimal_pairs(name, rows, tools, found)
        case PreferencesBenchmark():
            preferences(name, rows, tools, found)


def completions(
    name: str, config: CompletionsBenchmark, rows: list[Row], tools: Tools, found: Findings
) -> None:
    """Gold score, reward, win rate against the baseline's rewards, and EOS share."""
    assert tools.policy is not None
    model = tools.policy
    prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
    sampling = Sampling(config.max_new_tokens, temperature=config.temperature)
    answers = model.complete([model.prompt(prompt) for prompt in prompts], sampling, tools.seed)
    table: list[Row] = [
        {
            "benchmark": name,
            "row": number,
            "prompt": prompt[-1]["content"],
            "completion": text,
            "ended": ended,
        }
        for number, (prompt, (text, ended)) in enumerate(zip(prompts, answers, strict=True))
    ]
    if config.gold:
        _gold(name, table, found)
    if tools.scorer is not None:
        texts, ended = [row["completion"] for row in table], [row["ended"] for row in table]
        rewards = tools.scorer(prompts, texts, ended=ended)
        for row, reward in zip(table, rewards, strict=True):
            row["reward"] = reward
        found.add("reward", rewards, name)
        _win_rate(name, table, tools.baseline, found)
    found.add("ended_share", [float(row["ended"]) for row in table], name)
    found.completions += table


def _gold(name: str, table: list[Row], found: Findings) -> None:
    from tempering.world import gold_score

    for row in table:
        score = gold_score(row["prompt"], row["completion"], row["ended"])
        row |= {"gold": score.total, "perfect": score.perfect}
    found.add("gold_score", [row["gold"] for row in table], name)
    found.add("perfect_share", [float(row["perfect"]) for row in table], name)


def _win_rate(name: str, table: list[Row], baseline: dict[tuple[str, int], float], found: Findings) -> None:
    known = [(row, baseline.get((name, row["row"]))) for row in table]
    pairs = [(row["reward"], theirs) for row, theirs in known if theirs is not None]
    if pairs:
        wins = [1.0 if ours > theirs else 0.5 if ours == theirs else 0.0 for ours, theirs in pairs]
        found.add("win_rate", wins, name, baseline=0.5)


def perplexity(
    name: str, config: PerplexityBenchmark, rows: list[Row], tools: Tools, found: Findings
) -> None:
    """Nats a token, averaged over rows (each row's mean), so that the interval is over rows."""
    assert tools.policy is not None
    model = tools.policy
    lines = model.logprobs([_split(model, row, config.max_length) for row in rows])
    found.add("loss", [-fmean(line) for line in lines], name, better="lower")


def _split(model: LanguageModel, row: Row, max_length: int) -> tuple[list[int], list[int]]:
    eos = model.tokenizer.eos_token_id
    if "text" in row:
        return [eos], (model.tokenizer(row["text"])["input_ids"] + [eos])[: min(max_length, model.room - 1)]
    messages, answer = (
        [dict(turn) for turn in turns] for turns in (row["prompt"], row.get("completion") or row["chosen"])
    )
    prompt, completion = model.pair(messages, answer)
    completion = completion[: min(max_length, model.room - 1)]
    return model.fitting(prompt[-max_length:], len(completion)), completion


def questions(name: str, config: QuestionsBenchmark, rows: list[Row], tools: Tools, found: Findings) -> None:
    """Exact match and F1 of greedy answers; the guess baseline stands beside them."""
    assert tools.policy is not None
    model = tools.policy
    texts = [f"{row['context']} Question: {row['question']} Answer:" for row in rows]
    prompts = [
        [model.tokenizer.eos_token_id, *model.tokenizer(text)["input_ids"][-config.max_length :]]
        for text in texts
    ]
    answers = model.complete(prompts, Sampling(config.max_new_tokens, temperature=0), tools.seed)
    said = [text.strip().split("\n")[0].split(". ")[0] for text, _ in answers]
    known = [row["baseline"] for row in rows if row.get("baseline") is not None]
    guess = fmean(known) if known else None
    found.add(
        "exact_match",
        [exact_match(text, row["answers"]) for text, row in zip(said, rows, strict=True)],
        name,
        baseline=guess,
    )
    found.add(
        "f1", [f1(text, row["answers"]) for text, row in zip(said, rows, strict=True)], name, baseline=guess
    )


def minimal_pairs(name: str, rows: list[Row], tools: Tools, found: Findings) -> None:
    """Share of pairs whose good sentence has the higher log-probability (sum, EOS as first context)."""
    assert tools.policy is not None
    model = tools.policy
    eos = model.tokenizer.eos_token_id
    sides = [row[key] for row in rows for key in ("sentence_good", "sentence_bad")]
    sums = [
        sum(line) for line in model.logprobs([([eos], model.tokenizer(text)["input_ids"]) for text in sides])
    ]
    right = [
        1.0 if good > bad else 0.5 if good == bad else 0.0
        for good, bad in zip(sums[::2], sums[1::2], strict=True)
    ]
    found.add("minimal_pairs", right, name, baseline=0.5)


def preferences(name: str, rows: list[Row], tools: Tools, found: Findings) -> None:
    """Share of pairs whose chosen side has the higher score."""
    assert tools.scorer is not None
    prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
    chosen, rejected = (
        tools.scorer(prompts, [row[side][-1]["content"] for row in rows]) for side in ("chosen", "rejected")
    )
    right = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(chosen, rejected, strict=True)]
    found.add("accuracy", right, name, baseline=0.5)
