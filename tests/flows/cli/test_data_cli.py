"""`temper data doctor`: what it prints, that it can be read anywhere, and its exit codes."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from flows.cli.main import main
from tempering.printable import visible
from tests.tiny import PIPELINE, run_nodes

ROOT = Path(__file__).parents[3]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Doctor = Callable[..., Answer]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def doctor(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Call `temper data doctor`; its store is empty unless one is named."""
    monkeypatch.setenv("TEMPER_STORE", str(tmp_path / "no-store"))
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "250")  # paths of temporary folders are long

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        try:
            code = main(["data", "doctor", *map(str, arguments)])
        except SystemExit as error:
            code = int(error.code or 0)
        return Answer(code, *capfd.readouterr())

    return call


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def alpaca(tmp_path: Path) -> Path:
    rows = [{"instruction": f"Say {at}.", "input": "", "output": f"It is {at}."} for at in range(8)]
    return jsonl(tmp_path / "alpaca.jsonl", rows)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline as a YAML file, with a data set that nothing uses."""
    tree: dict[str, Any] = copy.deepcopy(PIPELINE)
    tree["datasets"]["spare"] = {"kind": "world", "rows": "prompts", "size": 5}
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


# -- a path ----------------------------------------------------------------------------------------


def test_a_good_file_says_so_first_and_marks_what_is_trained_on(doctor: Doctor, alpaca: Path) -> None:
    answer = doctor(alpaca)
    assert answer.code == 0
    assert answer.out.splitlines()[0] == f"✓ {alpaca}: fine"
    assert "recognised as kind alpaca by instruction, output" in answer.out
    assert (
        len(re.findall(r"<\|user\|>Say (\d)\.<\|assistant\|>⟦It is \1\.<\|endoftext\|>⟧\n", answer.out)) == 3
    )
    assert "\x1b" not in answer.out
    assert answer.err == ""


def test_json_is_one_document_and_nothing_else(doctor: Doctor, alpaca: Path) -> None:
    answer = doctor(alpaca, "--json", "--max-length", 64)
    document = json.loads(answer.out)
    assert (answer.code, document["exit_code"], document["verdict"]) == (0, 0, "fine")
    (one,), (sample,) = document["datasets"], document["samples"]
    assert (one["kind"], one["recognised"], one["rows"]["seen"]) == ("alpaca", True, 8)
    assert (sample["row_type"], sample["max_length"], len(sample["examples"])) == ("prompt_completion", 64, 3)
    roles = [segment["role"] for segment in sample["examples"][0][0]["segments"]]
    assert roles == ["context", "context", "context", "trained", "trained"]


BAD = {
    "same": [{"prompt": f"q{at}", "chosen": "yes", "rejected": "yes"} for at in range(5)],
    "long": [{"prompt": f"q{at}", "completion": "word " * 3000} for at in range(5)],
    "empty_answers": [{"prompt": f"q{at}", "completion": ""} for at in range(5)],
    "one_label": [{"text": f"text {at}", "label": 1} for at in range(5)],
    "one_score": [
        {
            "conversation": [{"role": "user", "content": f"q{at}"}, {"role": "assistant", "content": "a"}],
            "meta_eval_score": 3,
        }
        for at in range(5)
    ],
    "all_alike": [{"text": "the very same"}] * 5,
}


@pytest.mark.parametrize("name", BAD)
def test_meaningless_data_is_exit_code_1(doctor: Doctor, tmp_path: Path, name: str) -> None:
    path = jsonl(tmp_path / f"{name}.jsonl", BAD[name])
    answer = doctor(path)
    assert answer.code == 1
    assert answer.out.startswith(f"✗ {path}: training on this would be meaningless (1 fatal fault")
    assert "✗ fatal" in answer.out
    document = json.loads(doctor(path, "--json").out)
    assert document["verdict"] == "meaningless"


def test_prompts_alone_are_fine(doctor: Doctor, tmp_path: Path) -> None:
    answer = doctor(jsonl(tmp_path / "p.jsonl", [{"prompt": f"What is {at}?"} for at in range(5)]))
    assert answer.code == 0
    assert "used as prompt rows" in answer.out


def test_sets_to_measure_on_are_not_trained_on(doctor: Doctor, tmp_path: Path) -> None:
    rows = [{"sentence_good": f"It is {at}.", "sentence_bad": f"It are {at}."} for at in range(5)]
    answer = doctor(jsonl(tmp_path / "m.jsonl", rows))
    assert answer.code == 0
    assert "minimal_pair rows are not trained on" in answer.out
    assert "good ⟦It is" in answer.out
    assert "used as" not in answer.out


def made_up(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "folder":
        path.mkdir()
    elif name == "empty.jsonl":
        path.touch()
    elif name == "garbage.jsonl":
        path.write_bytes(bytes(range(128, 256)) * 40)
    elif name == "unknown.jsonl":
        jsonl(path, [{"colour": 1}])
    return path


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none.jsonl", [], "does not exist"),
        ("folder", [], "has no data files"),
        ("empty.jsonl", [], "holds no rows"),
        ("garbage.jsonl", [], "invalid UTF-8"),
        ("unknown.jsonl", [], "fits no row type"),
        ("unknown.jsonl", [], "--kind NAME --column NAME=PLACE"),
        ("unknown.jsonl", ["--kind", "alpacca"], "did you mean 'alpaca'?"),
        ("unknown.jsonl", ["--column", "text"], "NAME=PLACE"),
        ("unknown.jsonl", ["--dataset", "a"], "--dataset is meant for a pipeline"),
        ("unknown.jsonl", ["kind=text", "sepparator=x"], "did you mean 'separator'?"),
        ("unknown.jsonl", ["--rows", "-1"], "negative"),
        ("none.yaml", [], "cannot read the config"),
        ("none.yaml", ["--kind", "text"], "--kind is meant for a file or folder"),
    ],
)
def test_mistakes_are_exit_code_2(
    doctor: Doctor, tmp_path: Path, name: str, options: list[str], message: str
) -> None:
    answer = doctor(made_up(tmp_path, name), *options)
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("name", ["empty.jsonl", "garbage.jsonl"])
def test_with_a_kind_named_an_unreadable_file_is_meaningless(
    doctor: Doctor, tmp_path: Path, name: str
) -> None:
    answer = doctor(made_up(tmp_path, name), "--kind", "alpaca")
    assert answer.code == 1
    assert "✗ fatal" in answer.out


def test_the_schema_can_be_set_by_hand(doctor: Doctor, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "lang=en" / "rows.jsonl", [{"colour": f"grey {at}"} for at in range(3)])
    document = json.loads(doctor(path, "--kind", "text", "--column", "text=colour", "--json").out)
    (one,) = document["datasets"]
    assert (one["kind"], one["recognised"], one["columns"], one["rows"]["train"]) == (
        "text",
        False,
        ["colour"],
        3,
    )


def test_settings_of_the_builder_are_given_as_for_a_pipeline(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("one\ntwo\n\nthree\n")
    assert "where a document ends" in doctor(path).err
    document = json.loads(doctor(path, "--kind", "text", "documents=blank_line", "--json").out)
    assert document["datasets"][0]["rows"]["train"] == 2


def test_not_all_rows_are_said(doctor: Doctor, alpaca: Path) -> None:
    answer = doctor(alpaca, "--rows", 3)
    assert "the first 3, there are more" in answer.out
    assert "--rows 0" in answer.out
    assert "8, all of them" in doctor(alpaca, "--rows", 0).out


# -- what is printed -------------------------------------------------------------------------------

EVIL = "[red]x[/red] :smile: \x1b[31mESC\x1b]0;t\x07 \u202eabc \r\ttab"


def test_data_cannot_disturb_the_terminal(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path / "e.jsonl", [{"prompt": f"{EVIL} {at}", "completion": EVIL} for at in range(3)])
    plain = doctor(path).out
    assert "[red]x[/red] :smile: ␛[31mESC␛]0;t␇ \\u202eabc" in plain
    assert not set(plain) & set("\x1b\x07\r\t\u202e")
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = doctor(path).out
    assert "[red]x[/red]" in ANSI.sub("", coloured)
    assert not set(ANSI.sub("", coloured)) & set("\x1b\x07\r\t\u202e")


def test_colour_says_what_brackets_say(doctor: Doctor, alpaca: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLORTERM", "")
    coloured = doctor(alpaca).out
    assert "\x1b[32mIt is 4.\x1b[0m" in coloured
    assert "⟦" not in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "⟦It is 4." in doctor(alpaca).out


def test_what_it_prints_fits_80_columns(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.cells import cell_len

    rows: list[Any] = [
        {"prompt": f"{'ä ' * 200}{at}", "completion": "漢字 and more " * 99} for at in range(9)
    ]
    path = jsonl(
        tmp_path / ("a_long_name_" * 12 + ".jsonl"), [*rows, {"prompt": "", "completion": "漢" * 99}]
    )
    monkeypatch.setenv("COLUMNS", "80")
    lines = doctor(path).out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert not [line for line in lines if line != line.rstrip()]


def test_visible_leaves_nothing_a_terminal_obeys() -> None:
    assert visible("a\nb", lines=True) == "a\nb"
    assert visible("a\nb\x1b\x7f\x9b\u2028\ud800\U000e0001é漢👍") == (
        "a⏎b␛\\u007f\\u009b\\u2028\\ud800\\U000e0001é漢👍"
    )


# -- a pipeline ------------------------------------------------------------------------------------


def test_a_pipeline_is_examined_whole(doctor: Doctor, pipeline: Path) -> None:
    answer = doctor(pipeline, "--json")
    document = json.loads(answer.out)
    assert answer.code == 0
    datasets = {one["name"]: one for one in document["datasets"]}
    assert set(datasets) == {*PIPELINE["datasets"], "spare"}
    assert {one["name"] for one in document["samples"]} == set(PIPELINE["samples"])
    assert datasets["corpus"]["used_for"] == ["evaluation", "tokenizer", "training"]
    assert datasets["pairs"]["used_for"] == ["evaluation"]
    assert datasets["spare"]["used_for"] == []
    assert document["remarks"] == ["no stage uses spare"]
    assert "trained in memory as the config says" in document["tokenizer"]["origin"]
    assert (document["tokenizer"]["vocab_size"], document["tokenizer"]["approximate"]) == (400, False)
    assert [len(one["examples"]) for one in document["samples"]] == [3] * 4


def test_overrides_and_a_choice_of_data_sets(doctor: Doctor, pipeline: Path) -> None:
    answer = doctor(pipeline, "--dataset", "demonstrations", "--json", "samples.sft.max_length=24")
    document = json.loads(answer.out)
    assert [one["name"] for one in document["datasets"]] == ["demonstrations"]
    (sample,) = document["samples"]
    assert (sample["name"], sample["max_length"]) == ("sft", 24)
    assert (answer.code, document["verdict"]) == (1, "meaningless")  # the answers are longer
    assert "pretrain" in document["remarks"][0]
    assert "did you mean 'corpus'?" in doctor(pipeline, "--dataset", "corpsu").err


def test_a_missing_file_does_not_hide_the_rest(doctor: Doctor, pipeline: Path) -> None:
    gone = "datasets.demonstrations={kind: alpaca, path: none.json}"
    answer = doctor(pipeline, gone)
    assert answer.code == 2
    said = " ".join(answer.out.split())
    assert "✗ error the data file none.json does not exist" in said
    assert "it is made of demonstrations, which cannot be read" in said
    assert "sample pretrain" in answer.out


def test_the_tokenizer_of_the_store_is_used_where_it_is_the_right_one(
    doctor: Doctor, pipeline: Path, tiny_store: Any, nodes: Any
) -> None:
    made = run_nodes(tiny_store, nodes({}), "tokenizer")

    def origin(*more: str) -> str:
        found = doctor(pipeline, "--store", tiny_store.root, "--dataset", "corpus", "--json", *more)
        return str(json.loads(found.out)["tokenizer"]["origin"])

    assert origin() == made.id
    assert "trained in memory" in origin("tokenizer.vocab_size=300")
    assert origin("tokenizer={kind: existing, name_or_path: tokenizer@latest}").startswith("tokenizer@latest")
    assert origin("tokenizer.vocab_size=300", "--tokenizer", "tokenizer@latest") == "tokenizer@latest"
    # A model under `models:` has its tokenizer with it; its name is none of the Hub's.
    model = {"kind": "existing", "name_or_path": "base"}
    assert origin(f"models.base={made.tokenizer_dir}", f"tokenizer={model}").startswith("base, as the config")


def test_the_default_is_a_light_import() -> None:
    """Adding the command must not make `temper plan` load what examining needs."""
    code = (
        "import sys; from flows.cli.main import build_parser; build_parser(); "
        "print([name for name in "
        "('torch', 'transformers', 'rich', 'flows.cli.doctor') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_examining_imports_no_torch(alpaca: Path) -> None:
    code = (
        "import sys; from flows.cli.main import main; "
        "code = main(['data', 'doctor', sys.argv[1], '--json']); "
        "sys.exit(code or ('torch' in sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(alpaca)], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
