"""The charts show the numbers of the tables: places are checked in the SVG itself."""

import re
from pathlib import Path
from typing import Any

import pytest
from fabricate import EVALUATED, artifact, contents

import tasks  # noqa: F401  stages say how they are called
from tempering.artifacts.kinds import EvaluationArtifact
from tempering.report.config import ReportConfig
from tempering.report.names import cast
from tempering.report.overoptimisation import curves
from tempering.report.page import make_report
from tempering.report.progress import checkpoint_panels, stage_panels
from tempering.report.reward_quality import reliability_panels, reward_panels
from tempering.report.table import described, figures, lines

Row = dict[str, Any]


def evaluation(folder: Path, model: str, **tables: list[Row]) -> Any:
    return artifact(EvaluationArtifact, folder, f"evaluate[{model}]", tables, config=EVALUATED)


def dots(chart: str, cls: str = "dot") -> list[tuple[float, float]]:
    """Percent from the left, pixels from the top."""
    places = re.findall(rf'<circle cx="([\d.]+)%" cy="([\d.]+)" r="[\d.]+" class="{cls}"', chart)
    return [(float(x), float(y)) for x, y in places]


def test_reliability_is_accuracy_over_confidence(tmp_path: Path) -> None:
    rows = [
        {"benchmark": "pairs", "bin": 9, "confidence": 0.95, "accuracy": 0.75, "n": 30},
        {"benchmark": "pairs", "bin": 1, "confidence": 0.6, "accuracy": 0.6, "n": 10},
    ]
    (panel,) = reliability_panels(
        {"reward_model": evaluation(tmp_path, "reward_model", reliability=rows)}, cast(["reward_model"])
    )
    assert panel.title == "pairs"
    assert panel.ends[0][1] == "0.150"  # 30/40 of 0.2
    (low, high) = dots(panel.chart)
    assert low[0] < high[0]
    assert low[1] > high[1], "more that is right is further up"
    # The diagonal goes through the bin that is as right as it is sure.
    (start, end) = re.findall(r"([\d.]+),([\d.]+)", re.findall(r'd="(M[^"]+)" class="ideal"', panel.chart)[0])
    slope = (float(end[1]) - float(start[1])) / (float(end[0]) - float(start[0]))
    there = float(start[1]) + slope * (low[0] - float(start[0]))
    assert low[1] / 172 * 100 == pytest.approx(there, abs=0.1)


def over(model: str, gold: list[float], proxy: list[float]) -> list[Row]:
    return [
        {"stage": model, "tokens": 1000 * step, "kl": float(step**2), "sqrt_kl": None, "proxy": p, "gold": g}
        for step, (g, p) in enumerate(zip(gold, proxy, strict=True))
    ]


def test_the_turn_is_where_gold_falls_while_the_proxy_rises(tmp_path: Path) -> None:
    rows = over("ppo", [0.5, 0.7, 0.8, 0.6], [1, 2, 3, 4])
    (found,) = curves({"ppo": evaluation(tmp_path, "ppo", overoptimisation=rows)}, cast(["ppo"]))
    (turn,) = found.turns
    assert "turns at √KL 2.00 (2K tokens): gold score falls from 0.800 to 0.600" in turn
    proxy, gold = (str(panel.chart) for panel in found.panels)
    assert [len(dots(chart)) for chart in (proxy, gold)] == [4, 4]
    assert dots(gold, "ring") == [dots(gold)[2]], "the ring is around the third checkpoint"
    assert dots(gold)[2][1] == min(y for _, y in dots(gold))


def test_a_second_judges_score_is_not_called_gold(tmp_path: Path) -> None:
    rows = [{**row, "gold_metric": "judge_score"} for row in over("ppo", [0.5, 0.8, 0.6], [1, 2, 3])]
    (found,) = curves({"ppo": evaluation(tmp_path, "ppo", overoptimisation=rows)}, cast(["ppo"]))
    assert [panel.title for panel in found.panels] == ["Proxy", "Second judge"]
    assert ": score by the second judge falls from 0.800" in found.turns[0]


@pytest.mark.parametrize(
    ("gold", "proxy"), [([0.5, 0.7, 0.8], [1, 2, 3]), ([0.5, 0.8, 0.7], [1, 3, 2]), ([0.5], [1])]
)
def test_no_turn_without_both(tmp_path: Path, gold: list[float], proxy: list[float]) -> None:
    rows = over("ppo", gold, proxy)
    (found,) = curves({"ppo": evaluation(tmp_path, "ppo", overoptimisation=rows)}, cast(["ppo"]))
    assert not found.turns
    assert 'class="ring"' not in found.panels[1].chart


def test_a_turn_within_its_interval_is_none(tmp_path: Path) -> None:
    """The table knows the intervals: where it marks no turn, the highest point is chance."""
    rows = [row | {"turns": False} for row in over("ppo", [0.5, 0.7, 0.8, 0.6], [1, 2, 3, 4])]
    (found,) = curves({"ppo": evaluation(tmp_path, "ppo", overoptimisation=rows)}, cast(["ppo"]))
    assert not found.turns
    rows[1]["turns"] = True
    (found,) = curves({"ppo": evaluation(tmp_path, "p2", overoptimisation=rows)}, cast(["ppo"]))
    assert "turns at √KL 1.00" in found.turns[0]


def test_each_stop_has_its_interval(tmp_path: Path) -> None:
    rows = over("ppo", [0.5, 0.7, 0.8], [1, 2, 3])
    rows[1] |= {"gold_low": 0.2, "gold_high": 0.95, "proxy_low": None, "proxy_high": 2.5}
    (found,) = curves({"ppo": evaluation(tmp_path, "ppo", overoptimisation=rows)}, cast(["ppo"]))
    proxy, gold = (str(panel.chart) for panel in found.panels)
    assert "whisker" not in proxy, "half an interval is none"
    (ends,) = re.findall(
        r'<line x1="([\d.]+)%" x2="[\d.]+%" y1="([\d.]+)" y2="([\d.]+)" class="whisker', gold
    )
    x, low, high = map(float, ends)
    places = dots(gold)
    assert x == places[1][0]
    # Pixels down of 0.2 and 0.95, by the two dots of 0.5 and 0.8; the plot has room for both.
    pixels = (places[0][1] - places[2][1]) / 0.3
    assert low == pytest.approx(places[0][1] + 0.3 * pixels, abs=0.1)
    assert high == pytest.approx(places[2][1] - 0.15 * pixels, abs=0.1)
    assert 0 < high < low < 172


def test_every_axis_has_a_name_and_a_unit(tmp_path: Path) -> None:
    run = contents(tmp_path)
    page = make_report(run, ReportConfig()).html
    titles = re.findall(r'<text x="50%" y="[\d.]+" class="tick" text-anchor="middle">([^<]+)</text>', page)
    assert len(titles) == page.count('class="lines"') + page.count('class="strip-axis"') > 0
    assert set(titles) == {
        "Gold score, 0 to 1 per completion",
        "models, in the order above",
        "tokens trained on",
        "reward, a logit",
    }
    gold = stage_panels(lines(figures(run.evaluations), described(run.evaluations)), cast(run.evaluations))[0]
    assert gold.unit == "↑ stories · 0 to 1 per completion"


def test_the_last_checkpoint_is_the_last_even_where_it_came_back(tmp_path: Path) -> None:
    """KL 1, 4, 9, 6: by distance the third would stand last, and gold would fall from itself to itself."""
    rows = over("ppo", [0.5, 0.7, 0.95, 0.6], [0, 1, 2, 3])
    for row, kl, turns in zip(rows, [1, 4, 9, 6], [False, False, True, False], strict=True):
        row |= {"kl": float(kl), "turns": turns}
    (found,) = curves({"ppo": evaluation(tmp_path, "ppo", overoptimisation=rows)}, cast(["ppo"]))
    assert "turns at √KL 3.00 (2K tokens): gold score falls from 0.950 to 0.600" in found.turns[0]
    places = dots(str(found.panels[1].chart))
    assert places[1][0] < places[3][0] < places[2][0], "the line goes on to the last one, which is nearer"


def test_rewards_stand_beside_those_of_the_model_before(tmp_path: Path) -> None:
    rewards = {"pretrain": [-1.0, -1.0, 0.0, 0.0], "sft": [0.0, 0.0, 2.0, 2.0]}
    evaluations = {
        key: evaluation(
            tmp_path, key, completions=[{"benchmark": "stories", "reward": value} for value in values]
        )
        for key, values in rewards.items()
    }
    (panel,) = reward_panels(evaluations, cast(rewards, parents={"sft": "pretrain"}))
    assert panel.title == "Pretrained → SFT"
    assert [value for _, value in panel.ends] == ["−0.500", "1.00"]
    area = re.findall(r'd="M([^"]+)" class="filled"', panel.chart)[0]
    heights = [100 - float(corner.split(",")[1]) for corner in area.split("L")]
    assert sorted(set(heights)) == pytest.approx([0, 100 / 1.08], abs=0.02), "half in each of two bins"
    assert len([height for height in heights if height > 1]) == 4


def test_stages_and_checkpoints_are_in_their_order(tmp_path: Path) -> None:
    run = contents(tmp_path, stages=("pretrain", "sft", "ppo"))
    models = cast(run.evaluations, parents={"sft": "pretrain", "ppo": "sft"})
    every = lines(figures(run.evaluations), described(run.evaluations))
    gold = stage_panels(every, models)[0]
    assert gold.title == "Gold score"
    assert [x for x, _ in dots(gold.chart)] == sorted(x for x, _ in dots(gold.chart))
    assert gold.chart.count("thin") == 2, "one line from each parent"
    # The same metric of two checkpoints and the finished model, over tokens.
    row = {"benchmark": "stories", "metric": "gold_score", "low": 0.1, "high": 0.9, "better": "higher"}
    rows = [
        {**row, "tokens": tokens, "value": value} for tokens, value in ((300, 0.8), (100, 0.2), (200, 0.6))
    ]
    tables = {"ppo": evaluation(tmp_path / "more", "ppo", checkpoints=rows)}
    (panel,) = checkpoint_panels(tables, every, models)
    assert [number for _, number in panel.ends] == ["0.800"]
    ys = [y for _, y in dots(panel.chart)]
    assert ys == sorted(ys, reverse=True)
