"""The page holds what the tables hold, escapes what it is given and needs nothing but itself."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fabricate import EVALUATED, artifact, contents, evaluation_tables, input_ref, stats

from tasks.report import report
from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import EvaluationArtifact, ModelArtifact
from tempering.evaluation.benchmarks import BENCHMARKS
from tempering.evaluation.findings import Findings
from tempering.report.config import ReportConfig
from tempering.report.curves import on_policy_panels
from tempering.report.names import cast
from tempering.report.numbers import number
from tempering.report.page import Contents, make_report

VOID = {"meta", "br", "link", "img", "input", "hr"}
NASTY = [
    "<script>alert(1)</script>",
    "</p></div><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} {% raw %}",
    "W" * 5000,
    "\u202eevil\u202c",
    "\u0645\u0631\u062d\u0628\u0627",
    "",
    "a\x00b\x07c\x1b[31m",
    '" onmouseover="alert(1)',
    "]]>--><!-- <style>*{display:none}</style>",
    "&lt;b&gt;",
]


class Page(HTMLParser):
    """Checks nesting while reading; collects tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    return contents(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def html(whole: Contents) -> str:
    return make_report(whole, ReportConfig(title="Quick & small")).html


def test_every_number_of_the_table_is_in_the_page(whole: Contents, tmp_path: Path) -> None:
    out = Draft(tmp_path / "draft")
    summary = report(out, ReportConfig(), **_inputs(whole))
    rows = pq.read_table(out.path / "metadata" / "report_table.parquet").to_pylist()
    assert len(rows) == 5 * 5 + 1
    page = Page((out.path / "report.html").read_text(encoding="utf-8"))
    shown = {
        (cell["data-model"], cell["data-benchmark"], cell["data-metric"]): float(cell["data-value"] or "nan")
        for cell in page.all("td")
        if "data-value" in cell
    }
    assert shown == {(row["model"], row["benchmark"], row["metric"]): row["value"] for row in rows}
    best = max((row for row in rows if row["metric"] == "gold_score"), key=lambda row: row["value"])
    assert summary["best"] == best["model"] == "rloo"
    assert summary["gold_score"] == best["value"]
    assert f"{number(best['value'], 3)} (95% interval {number(best['low'], 3)}" in page.text


def test_the_page_names_models_sections_and_versions(html: str) -> None:
    text = Page(html).text
    for wanted in (
        "Quick & small", "21 November 2026", "cpu", "Pretrained", "Reward model", "RLOO",
        "KL to the starting model",
        "Completion length", "12,345", "1 × empty text", "torch 2.13.0", "c0ffee, with uncommitted changes",
        "5 min 10 s", "45.6K", "guess 0.5", "learning_rate: 0.001", "5 more prompts",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_steps_of_one_rollout_are_one_point(tmp_path: Path) -> None:
    rows = [{"tokens": 1000 * (step // 4), "score": float(step % 4)} for step in range(4, 24)]
    rows.append({"tokens": 6000, "score": None})
    model = artifact(ModelArtifact, tmp_path, "ppo", {"training_stats": rows})
    (panel,) = on_policy_panels({"ppo": model}, cast(["ppo"]))
    corners = re.findall(r'd="M([^"M]+)" class="raw', str(panel.chart))
    assert [len(path.split("L")) for path in corners] == [5]
    assert panel.ends[0][1] == "1.50"


def test_the_plot_hides_what_leaves_it(html: str) -> None:
    assert re.search(r"\.plot-area\{overflow:hidden\}", html)
    assert html.count('class="plot-area"') == html.count('class="lines"') > 0


def test_the_page_is_called_like_its_run(whole: Contents, html: str) -> None:
    assert "<title>Quick &amp; small · 21 November 2026, 10:15 UTC · Tempering report</title>" in html
    assert "<h1>Quick &amp; small</h1>" in html
    assert "From raw text to an aligned model" in make_report(whole, ReportConfig()).html


def test_a_judge_that_models_learned_from_is_named(whole: Contents, tmp_path: Path) -> None:
    judge = input_ref("reward_model/toy")
    ppo = artifact(ModelArtifact, tmp_path, "ppo", inputs={"reward_models.model": judge})
    evaluation = artifact(
        EvaluationArtifact,
        tmp_path,
        "evaluate[ppo]",
        evaluation_tables("ppo"),
        config=EVALUATED,
        inputs={"reward_model": judge},
    )
    page = make_report(Contents({"ppo": evaluation}, {"ppo": ppo}), ReportConfig()).html
    assert page.count("judged by the reward model that PPO learned from") == 1  # beside the reward
    other = artifact(ModelArtifact, tmp_path, "dpo", inputs={"model": judge})
    page = make_report(Contents({"dpo": evaluation}, {"dpo": other}), ReportConfig()).html
    assert "judged by the reward model" not in page


def test_a_score_below_the_guess_says_so(tmp_path: Path) -> None:
    metric = Findings("stories", BENCHMARKS["completions"].model_construct())
    metric.add("gold_score", [0.1, 0.12, 0.11] * 20, baseline=0.5)
    tables = {"metrics": [item.row("sft") for item in metric.metrics]}
    evaluation = artifact(EvaluationArtifact, tmp_path, "evaluate[sft]", tables, config=EVALUATED)
    assert ">worse than guessing</small>" in make_report(Contents({"sft": evaluation}), ReportConfig()).html


def test_every_picture_says_what_it_shows(html: str) -> None:
    for picture in Page(html).all("svg"):
        nested = "viewbox" in picture
        assert nested or picture.get("aria-hidden") == "true" or picture.get("aria-label")


def test_the_page_needs_nothing_but_itself(html: str) -> None:
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "base"}
    for _, attributes in page.tags:
        assert not {"src", "srcset", "xlink:href", "data"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
        assert all(not (attributes.get("href") or "#").startswith(part) for part in ("http", "//"))
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in html


def test_same_artifacts_same_bytes(whole: Contents, html: str) -> None:
    shuffled = replace(whole, evaluations=dict(reversed(whole.evaluations.items())))
    assert make_report(shuffled, ReportConfig(title="Quick & small")).html == html


def test_hostile_completions_stay_text(tmp_path: Path) -> None:
    tables = evaluation_tables("sft", 20)
    tables["completions"] = [
        {"benchmark": "stories", "prompt": f"Tell {text}", "completion": text, "ended": True, "gold": 0.5}
        for text in NASTY
    ]
    evaluation = artifact(EvaluationArtifact, tmp_path, "evaluate[sft]", tables)
    made = make_report(
        Contents({"sft": evaluation}, failures={"<b>ppo": NASTY[0]}),
        ReportConfig(title=NASTY[0], prompts=len(NASTY)),
    )
    page = Page(made.html)
    assert not page.all("script")
    assert not page.all("img")
    assert "1 stage failed <b>ppo <script>alert(1)</script>" in page.text
    assert len(page.all("style")) == 1
    assert "{{ 7 * 7 }}" in page.text
    assert "49 {%" not in page.text
    assert "(3,500 more characters)" in page.text
    assert "(empty)" in page.text
    assert "a␀b␇c␛[31m" in page.text
    assert not re.search("[\x00-\x08\u202a-\u202e]", made.html)
    assert "مرحبا" in page.text
    assert not any("onmouseover" in attributes for _, attributes in page.tags)


def test_words_that_were_asked_for_are_marked(tmp_path: Path) -> None:
    tables = evaluation_tables("sft", 20)
    tables["completions"] = [
        {"benchmark": "b", "prompt": f"Tell a story. {thing}, dog:", "completion": said, "gold": 0.5}
        for thing, said in (("Mia", "A DOG met mia. A dogfight."), ("Leo", "Nothing."))
    ]
    found = make_report(
        Contents({"sft": artifact(EvaluationArtifact, tmp_path, "evaluate[sft]", tables)}), ReportConfig()
    )
    # `dog`, `a` and `story` are in every prompt: they belong to the instruction.
    assert re.findall("<mark>(.*?)</mark>", found.html) == ["asked for and found", "mia"]
    assert "without Leo" in re.sub("<.*?>", "", found.html)


def test_without_gold_nothing_is_marked_and_reward_is_the_headline(tmp_path: Path) -> None:
    evaluations = {}
    for stage in ("sft", "ppo"):
        tables = evaluation_tables(stage, 40)
        for name in ("metrics", "scores"):
            tables[name] = [row for row in tables[name] if row["metric"] != "gold_score"]
        for row in tables["completions"]:
            del row["gold"]
        evaluations[stage] = artifact(
            EvaluationArtifact, tmp_path, f"evaluate[{stage}]", tables, config=EVALUATED
        )
    made = make_report(Contents(evaluations), ReportConfig())
    assert made.line is not None
    assert made.line.metric == "reward"
    assert "<mark>" not in made.html
    assert re.match(r"PPO reaches \S+ \(95% interval .*\) in reward", made.verdict.sentence)
    assert any("that they learned, not that they are good" in note for note in made.verdict.notes)


def test_nothing_but_one_model(tmp_path: Path) -> None:
    model = artifact(ModelArtifact, tmp_path, "my_model", {"training_stats": stats("sft", 3)})
    made = make_report(Contents(models={"my_model": model}), ReportConfig())
    text = Page(made.html).text
    assert "Nothing was measured" in text
    assert "my model" in text
    assert "time, tokens, compute and memory" in text


def test_nothing_at_all() -> None:
    assert "Nothing was measured" in Page(make_report(Contents(), ReportConfig()).html).text


def test_nan_and_empty_tables(tmp_path: Path) -> None:
    tables = evaluation_tables("ppo", 20)
    for row in tables["metrics"]:
        row |= {"value": math.nan, "low": math.nan, "high": math.inf}
    evaluations = {
        "ppo": artifact(EvaluationArtifact, tmp_path, "evaluate[ppo]", tables),
        "sft": artifact(
            EvaluationArtifact, tmp_path, "evaluate[sft]", {"metrics": [], "scores": [], "completions": []}
        ),
    }
    rows = [{"step": 1, "tokens": 10, "loss": math.nan, "score": None}]
    models = {
        "ppo": artifact(ModelArtifact, tmp_path, "ppo", {"training_stats": rows}),
        "sft": artifact(ModelArtifact, tmp_path, "sft", {"training_stats": []}),
    }
    out = Draft(tmp_path / "draft")
    report(out, ReportConfig(), evaluations=evaluations, models=models, samples={}, datasets={})
    made = (out.path / "report.html").read_text()
    assert "nan" not in re.sub("<style>.*?</style>", "", made, flags=re.S).lower().split()
    assert "Nothing was measured" in Page(made).text
    table = pq.read_table(out.path / "metadata" / "report_table.parquet")
    assert table["value"].null_count == table.num_rows == 5


def test_failures_are_named_and_counted(whole: Contents, tmp_path: Path) -> None:
    out = Draft(tmp_path / "draft")
    out.details["failures"] = {"dpo": "no pairs", "ppo": "out of memory"}
    assert report(out, ReportConfig(), **_inputs(whole))["failed"] == 2
    text = Page((out.path / "report.html").read_text()).text
    assert re.search("2 stages failed dpo no pairs ppo out of memory", text)


def test_failures_of_one_cause_stand_together() -> None:
    found = {"dpo": "no pairs", "ppo": "out of memory", "rloo": "out of memory"}
    made = make_report(Contents(failures=found), ReportConfig())
    assert "3 stages failed dpo no pairs ppo, rloo out of memory What depends on them" in Page(made.html).text
    assert "**3 stages failed:**\n\n- dpo: no pairs\n- ppo, rloo: out of memory\n" in made.markdown


def test_no_table_is_an_empty_table_with_columns(tmp_path: Path) -> None:
    out = Draft(tmp_path / "draft")
    assert report(out, ReportConfig(), evaluations={}, models={}, samples={}, datasets={}) == {"models": 0}
    table = pq.read_table(out.path / "metadata" / "report_table.parquet")
    assert table.column_names[:6] == ["model", "metric", "value", "low", "high", "n"]


def test_stages_of_other_names_get_their_own_colours() -> None:
    names = ["sft", "sft_long", "dpo", "dpo_again", "rloo", "grpo"]
    models = cast(names, {"sft_long": "sft", "dpo_again": "dpo", "grpo": "rloo"}, {"dpo_again": "dpo"})
    assert list(models) == names
    assert [models[name].color for name in ("sft", "dpo", "rloo")] == ["m-1", "m-3", "m-5"]
    assert len({model.color for model in models.values()}) == 6
    assert [name for name, model in models.items() if model.aligned] == ["dpo", "dpo_again", "rloo", "grpo"]
    assert models["dpo_again"].label == "dpo again"
    many = cast(["sft", *(f"sft{number}" for number in range(12))])
    assert len({model.color for model in many.values()}) == 13


def test_the_style_sheet_has_every_colour(html: str) -> None:
    models = cast([f"model{number}" for number in range(13)])
    assert all(f".{model.color}{{" in html for model in models.values())


def _inputs(run: Contents) -> dict[str, object]:
    return {name: getattr(run, name) for name in ("evaluations", "models", "samples", "datasets")}


def test_stages_that_share_an_artifact_count_once(whole: Contents, html: str) -> None:
    twins = replace(whole, models={**whole.models, "sft_copy": whole.models["sft"]})
    cost = re.compile(r"<span>2\.35M tokens trained on</span><span>computed in 21 min 58 s</span>")
    assert cost.search(html)
    assert cost.search(make_report(twins, ReportConfig()).html)
