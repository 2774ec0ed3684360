"""Fine-tuning tasks: what is trained and read, which epoch counts, and what a killed run keeps."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tempering.errors import DataError
from tempering.evaluation import finetune
from tempering.evaluation.benchmarks import FinetuningBenchmark, Tools
from tempering.evaluation.findings import Findings, run_benchmark
from tempering.generation.language_model import LanguageModel
from tests.data.some_tokenizers import TOKENIZERS
from tests.models.outside import outside
from tests.tiny import fresh_draft

WORDS = ["the dog", "a cat", "in the park", "Once upon a time", "there was", "saw"]


def some_rows(count: int, start: int = 0, labels: int = 2) -> list[dict[str, Any]]:
    """Rows whose last word tells the label, and whose first one does not."""
    return [
        {
            "text": f"{WORDS[number % 6]} {WORDS[number // 6 % 6]} {number}",
            "text_pair": f"is it {['no', 'yes', 'perhaps'][number // 6 % labels]}",
            "label": number // 6 % labels,
        }
        for number in range(start, start + count)
    ]


TRAIN, TEST = some_rows(60), some_rows(30, 100)
QUICK = {"num_epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "seeds": (1,)}


class Trained(FinetuningBenchmark):
    """With its training rows at hand instead of a data set."""

    def _training_rows(self, name: str, datasets: Any) -> list[dict[str, Any]]:
        return TRAIN


def measured(
    folder: Path,
    test: list[dict[str, Any]] = TEST,
    checkpoint: str = "",
    out: Any = None,
    name: str = "task",
    **settings: Any,
) -> Findings:
    model = LanguageModel(folder, "plain", torch.device("cpu"))
    artifact: Any = SimpleNamespace(model_dir=folder, trusts_remote_code=False, checkpoint=checkpoint)
    benchmark = Trained.model_validate({"kind": "finetuning", "dataset": "test", **QUICK, **settings})
    return run_benchmark(name, benchmark, test, Tools(policy=model, model=artifact, out=out))


def value(findings: Findings, metric: str) -> float:
    return next(item.value for item in findings.metrics if item.metric == metric)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return outside(tmp_path / "m", tokenizer=TOKENIZERS["byte-level"](), max_position_embeddings=64)


# -- what is read ---------------------------------------------------------------------------------------


def test_the_last_token_has_seen_the_text_and_the_first_one_nothing(folder: Path) -> None:
    honest, official = (measured(folder, scoring=scoring) for scoring in ("honest", "official"))
    assert value(honest, "accuracy") == value(honest, "f1") == value(honest, "mcc") == 1
    assert value(official, "accuracy") < 0.8
    assert {metric.convention for metric in official.metrics} == {"official"}
    # The majority label of the training rows.
    ones = sum(row["label"] for row in TRAIN)
    guess = int(2 * ones > len(TRAIN))
    share = sum(row["label"] == guess for row in TEST) / len(TEST)
    assert [metric.baseline for metric in honest.metrics] == [
        pytest.approx(share),
        pytest.approx(2 * share / (1 + share) if guess else 0),
        0,
    ]


# -- training -------------------------------------------------------------------------------------------


def reference(folder: Path, seed: int, epochs: int, batch: int, peak: float) -> tuple[list[float], list[int]]:
    """The official pipeline's run, written anew with plain torch and transformers from its description."""
    from torch import nn
    from torch.utils.data import DataLoader
    from transformers import AutoModel, AutoTokenizer

    torch.manual_seed(seed)
    words, body = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    norms = [nn.LayerNorm(32, 1e-5, elementwise_affine=False) for _ in range(2)]
    head = nn.Sequential(norms[0], nn.Linear(32, 32), nn.GELU(), norms[1], nn.Dropout(0.1), nn.Linear(32, 2))
    both = nn.ModuleList([body, head])

    def batches(rows: Any, size: int, shuffle: bool) -> Any:
        def collated(items: Any) -> Any:
            texts = [(row["text"], row["text_pair"]) for row in items]
            return words(texts, return_tensors="pt", padding=True, padding_side="right"), torch.tensor(
                [row["label"] for row in items]
            )

        return DataLoader(rows, size, shuffle=shuffle, drop_last=shuffle, collate_fn=collated)

    steps = len(TRAIN) // batch * epochs
    warmup = int(0.06 * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    optimizer = torch.optim.AdamW(both.parameters(), lr=peak, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    scores, best = list[float](), list[int]()
    for _ in range(epochs):
        both.train()
        for inputs, labels in batches(TRAIN, batch, True):
            states = body(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
            nn.functional.cross_entropy(head(states[:, 0]), labels).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        both.eval()
        labels_of = list[int]()
        with torch.no_grad():
            for inputs, _ in batches(TEST, 64, False):
                labels_of += head(body(inputs["input_ids"]).last_hidden_state[:, 0]).argmax(-1).tolist()
        right = sum(label == row["label"] for label, row in zip(labels_of, TEST, strict=True)) / len(TEST)
        if not scores or right > max(scores):
            best = labels_of
        scores.append(right)
    return scores, best


def test_official_is_the_official_run_to_the_last_label(tmp_path: Path) -> None:
    folder = outside(tmp_path / "m", "gpt2", tokenizer=TOKENIZERS["byte-level"](), n_positions=64)
    scores, predictions = reference(folder, seed=5, epochs=4, batch=8, peak=3e-3)
    found = measured(folder, scoring="official", seeds=(5,), num_epochs=4, learning_rate=3e-3)
    assert [row["score"] for row in found.tables["finetuning"]] == [pytest.approx(score) for score in scores]
    assert [row["prediction"] for row in found.tables["predictions"]] == predictions
    assert min(len(set(scores)), len(set(predictions))) > 1, "or it would show nothing"


def test_the_epoch_is_chosen_on_training_rows_that_were_held_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = list[finetune.Task]()
    train = finetune.finetune

    def spy(config: Any, task: finetune.Task, *more: Any) -> finetune.Outcome:
        tasks.append(task)
        return train(config, task, *more)

    monkeypatch.setattr(finetune, "finetune", spy)
    measured(folder, num_epochs=1, seeds=(1, 2))
    measured(folder, num_epochs=1, scoring="official")
    honest, again, official = tasks
    assert (len(honest.train.labels), len(honest.choosing.labels)) == (54, 6)
    held_out = {tuple(ids) for ids in honest.choosing.sequences}
    assert held_out.isdisjoint(map(tuple, honest.train.sequences))
    assert held_out.isdisjoint(map(tuple, honest.test.sequences))
    assert held_out == {tuple(ids) for ids in again.choosing.sequences}, "the same for every seed"
    assert official.choosing is official.test
    assert len(official.train.labels) == 60


def test_the_first_of_the_best_epochs_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = [row["label"] for row in TEST]
    worse, better = [1 - truth[0], 1 - truth[1], *truth[2:]], [1 - truth[0], *truth[1:]]
    also_better = [truth[0], 1 - truth[1], *truth[2:]]
    answers = iter([worse, better, also_better])
    monkeypatch.setattr(finetune, "_predicted", lambda *_: next(answers))
    found = measured(folder, scoring="official")
    assert [row["prediction"] for row in found.tables["predictions"]] == better
    assert [row["best"] for row in found.tables["finetuning"]] == [False, True, False]
    shares = [row["test_accuracy"] for row in found.tables["finetuning"]]
    assert shares == [None, pytest.approx(29 / 30), None]


def test_seeds_differ_and_each_gives_the_same_again(folder: Path) -> None:
    settings = {"seeds": (1, 2), "num_epochs": 1, "learning_rate": 1e-3}
    first, second = (measured(folder, **settings) for _ in range(2))
    assert first.tables == second.tables
    assert first.metrics == second.metrics
    losses = {row["seed"]: row["loss"] for row in first.tables["finetuning"]}
    assert losses[1] != losses[2]
    # The value is the mean over seeds, and each row's score too.
    scores = [row["value"] for row in first.tables["scores"] if row["metric"] == "accuracy"]
    assert value(first, "accuracy") == pytest.approx(sum(scores) / len(TEST))
    assert [metric.n for metric in first.metrics] == [len(TEST)] * 3


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "lstm", "kgram"])
def test_every_family_learns(family: str, tmp_path: Path) -> None:
    sizes = {"lstm": {"state_size": 24}, "kgram": {"context_size": 8, "token_size": 8}}
    shape = {"hidden_size": 32, "max_position_embeddings": 64, **sizes[family]} if family in sizes else {}
    folder = outside(tmp_path / "m", family, tokenizer=TOKENIZERS["byte-level"](), **shape)
    assert value(measured(folder, num_epochs=8, learning_rate=3e-3), "accuracy") > 0.9


def test_three_labels_have_no_f1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trained, "_training_rows", lambda *_: some_rows(60, labels=3))
    found = measured(folder, some_rows(30, 100, labels=3), num_epochs=5)
    assert [metric.metric for metric in found.metrics] == ["accuracy", "mcc"]
    assert value(found, "accuracy") > 0.9


# -- in the stage ---------------------------------------------------------------------------------------


@pytest.fixture
def toys(tmp_path: Path) -> Any:
    from tests.exchange.toy_models import ToyStore

    return ToyStore(tmp_path / "store")


def dataset(toys: Any, path: Path, rows: list[dict[str, Any]], **settings: Any) -> Any:
    from tasks.dataset import dataset as stage
    from tempering.artifacts.resolve import build
    from tempering.data.builders.classification import ClassificationConfig

    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = ClassificationConfig(kind="classification", path=path, **settings)
    return build(toys.store, stage, config, node=f"dataset[{path.stem}]")


def evaluated(toys: Any, datasets: dict[str, Any], model: Any, force: bool = False, **settings: Any) -> Any:
    from tasks.evaluate import evaluate
    from tempering.artifacts.resolve import build
    from tempering.evaluation.config import EvaluateConfig

    task = {"kind": "finetuning", "dataset": "test", "max_length": 48, **QUICK, **settings}
    config = EvaluateConfig.model_validate({"models": ["sft"], "benchmarks": {"task": task}})
    inputs = {"model": model, "datasets": datasets}
    return build(toys.store, evaluate, config, inputs, node="evaluate[sft]", force=force)


def test_a_killed_run_trains_no_finished_seed_again(
    toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = {
        "test": dataset(toys, tmp_path / "test.jsonl", TEST, eval_fraction=1),
        "train": dataset(toys, tmp_path / "train.jsonl", [*TRAIN, TEST[0]], eval_fraction=0),
    }
    settings = {"train_dataset": "train", "seeds": (7, 8), "num_epochs": 1}
    trained, train = list[int](), finetune.finetune

    def cut_short(*arguments: Any) -> finetune.Outcome:
        trained.append(arguments[5])
        if trained == [7, 8]:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(finetune, "finetune", cut_short)
    model = toys.model("sft")
    with pytest.raises(KeyboardInterrupt):
        evaluated(toys, datasets, model, **settings)
    resumed = evaluated(toys, datasets, model, **settings)
    assert trained == [7, 8, 8]
    assert resumed.manifest.resumed_from_tokens
    assert not (resumed.path / "checkpoints").exists(), "they are in the tables"

    # As if nothing had happened: made again from the beginning.
    whole = evaluated(toys, datasets, model, force=True, **settings)
    assert trained == [7, 8, 8, 7, 8]
    for table in ("metrics", "scores", "finetuning", "predictions"):
        assert resumed.read(table).equals(whole.read(table)), table
    assert "1 test rows are training rows too" in (resumed.path / "log.txt").read_text()


def test_a_finished_seed_is_that_of_its_checkpoint(folder: Path, tmp_path: Path) -> None:
    settings = {"num_epochs": 1, "learning_rate": 1e-3}
    other = outside(tmp_path / "o", "qwen2", tokenizer=TOKENIZERS["byte-level"](), max_position_embeddings=64)
    out = fresh_draft(tmp_path / "draft")
    finished = measured(folder, out=out, **settings)
    point = measured(other, out=out, checkpoint="checkpoint_1K_tokens", **settings)
    assert point.tables == measured(other, **settings).tables != finished.tables
    assert measured(folder, out=out, **settings).tables == finished.tables


def test_a_finished_seed_is_that_of_its_task(folder: Path, tmp_path: Path) -> None:
    """Mutations: a file name that two tasks share; predictions of other rows taken for these rows'."""
    out = fresh_draft(tmp_path / "draft")
    names = ("rte a", "rte-a", "x__y", "x_y", "文", "語")
    for name in names:
        measured(folder, out=out, name=name, num_epochs=1)
    assert len([*out.path.glob("checkpoints/*/*.json")]) == len(names), "one was taken for another's"
    assert len(measured(folder, TEST[:7], out=out, name="x_y", num_epochs=1).tables["predictions"]) == 7


def test_rows_that_do_not_do_are_refused_before_a_model_is_loaded(toys: Any, tmp_path: Path) -> None:
    test = dataset(toys, tmp_path / "test.jsonl", TEST, eval_fraction=1)
    one_label = dataset(toys, tmp_path / "one.jsonl", [row for row in TRAIN if row["label"]])
    few = dataset(toys, tmp_path / "few.jsonl", TRAIN[:7])
    both = dataset(toys, tmp_path / "both.jsonl", TRAIN, eval_fraction=0.3)

    def fault(datasets: dict[str, Any], train: str | None) -> str:
        benchmark = FinetuningBenchmark(kind="finetuning", dataset="test", train_dataset=train, batch_size=8)
        assert benchmark.dataset_names == tuple(datasets)
        with pytest.raises(DataError) as error:
            benchmark.check("task", Tools(datasets=datasets))
        return str(error.value)

    assert "all 30 training rows have the label 1" in fault({"test": test, "x": one_label}, "x")
    assert "7 training rows, 1 of them to choose the epoch" in fault({"test": test, "x": few}, "x")
    assert "has only an eval part" in fault({"test": test}, None)
    assert "has only an eval part" in fault({"test": test}, "test")
    FinetuningBenchmark(kind="finetuning", dataset="test", batch_size=8).check(
        "task", Tools(datasets={"test": both})
    )
    with pytest.raises(DataError, match="holds text rows"):
        evaluated(toys, {"test": test, "train": toys.corpus}, toys.model("sft"), train_dataset="train")
