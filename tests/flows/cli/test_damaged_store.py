"""A store with one damaged file: every command says what is damaged, and none ends in a traceback."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_temper

from flows.cli.main import main
from tempering.artifacts.resolve import build
from tempering.artifacts.store import Store

SAMPLE = 6  # of some hundred pairs of a file and a change
CHANGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: os.truncate(file, 0),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "garbage": lambda file: file.write_bytes(b"\xff\x00{"),
    "deleted": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a link to itself": lambda file: (file.unlink(), file.symlink_to(file.name)),
    "a list": lambda file: file.write_text("[]"),
    "null": lambda file: file.write_text("null"),
    "nested for ever": lambda file: file.write_text("[" * 100_000),
    "no object's values": lambda file: retyped(file, 5),
    "no number's values": lambda file: retyped(file, "x"),
}


def retyped(file: Path, value: object) -> None:
    """A JSON object whose first half of keys have other values; other files become text."""
    try:
        tree = json.loads(file.read_bytes())
    except ValueError:
        tree = {"a": 1, "b": 2}
    names = list(tree)[: len(tree) // 2]
    file.write_text(json.dumps(tree | dict.fromkeys(names, value)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A config and a finished store of the toy pipeline, with the record of its run."""
    folder = tmp_path_factory.mktemp("whole")
    config = folder / "toy.yaml"
    config.write_text("name: toy\n")
    store, artifacts = Store(folder / "store"), dict[str, Any]()
    run = store.runs.start("toy")
    with pytest.MonkeyPatch.context() as patch:
        toy_temper.install(patch.setattr)
        for node in toy_temper.toy_graph(toy_temper.load_toy(config)):
            inputs = {
                role: {key: artifacts[name] for key, name in source.items()}
                if isinstance(source, dict)
                else artifacts[source]
                for role, source in node.inputs.items()
            }
            artifacts[node.name] = build(store, node.stage, node.config, inputs, node=node.name)
            run.stage(node.name, "run", artifact=artifacts[node.name].id)
        run.finish("completed")
        yield config, store.root


def pairs(root: Path) -> list[tuple[str, str]]:
    """A sample of (file, change), with every change to one manifest and to the record of the run."""
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    files = [name for name in files if not name.startswith(".")]
    crucial = [name for name in files if name.startswith(("runs/", "evaluate-left/"))]
    manifests = [name for name in crucial if name.endswith(".json")]
    drawn = random.Random(12).sample([(name, change) for name in files for change in CHANGES], SAMPLE)
    return [(name, change) for name in manifests for change in CHANGES] + drawn


def test_no_command_ends_in_a_traceback(
    whole: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, root = whole
    for number, (name, change) in enumerate(pairs(root)):
        store = tmp_path / str(number)
        shutil.copytree(root, store)
        CHANGES[change](store / name)
        artifact = "/".join(name.split("/")[:2])
        commands = [["report"], ["plan", str(config)]]
        if not name.startswith("runs/"):
            commands += [["artifacts", "list"], ["artifacts", "verify"], ["artifacts", "show", artifact]]
        for command in commands:
            code = main([*command, "--store", str(store)])  # raises what it does not expect
            output = capsys.readouterr()
            assert code in (0, 1, 2), (name, change, command)
            assert "Traceback" not in output.err + output.out
            if command[-1] == "verify" and not name.startswith("runs/"):
                assert (code, artifact in output.out) == (1, True), (name, change)


def test_what_is_damaged_is_named_and_the_rest_is_shown(
    whole: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mutation: the first artifact that is damaged ends `temper report`."""
    store = tmp_path / "store"
    shutil.copytree(whole[1], store)
    [manifest] = store.glob("evaluate-left/*/manifest.json")
    manifest.write_text("[]")
    [record] = store.glob("runs/*.json")
    # The table of the others, and a line for this one.
    assert main(["artifacts", "list", "--store", str(store)]) == 0
    listed = capsys.readouterr()
    assert "evaluate-right" in listed.out
    assert f": {manifest} holds a list" in listed.err
    assert main(["report", record.stem, "--store", str(store)]) == 0
    assert str(manifest) in capsys.readouterr().err
    # A record that cannot be read is not the same as none.
    record.write_text("{")
    assert main(["report", record.stem, "--store", str(store)]) == 2
    assert f"{record} cannot be read" in capsys.readouterr().err
