"""Data sets on the Hub: which files belong to a split, and fetching them from a stand-in of the Hub."""

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempering.data.files import read_records
from tempering.data.files.hub import hub_files
from tempering.data.files.hub_layout import missing_shards, splits_of
from tempering.errors import DataError
from tests.data.hub_stand_in import COMMIT, HubStandIn

SHARDS = ["data/train_prefs-00000-of-00002.parquet", "data/train_prefs-00001-of-00002.parquet"]
README = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train_prefs
    path: data/train_prefs-*
  - split: test_prefs
    path: data/test_prefs-*
- config_name: small
  data_dir: small
---
Words.
"""
TEST = "data/test_prefs-00000-of-00001.parquet"
SMALL = ["small/test.jsonl", "small/train.jsonl"]


def test_subsets_and_splits_as_the_readme_has_them():
    names = ["README.md", *SHARDS, TEST, *SMALL]
    assert splits_of("it", names, README, None) == {"train_prefs": SHARDS, "test_prefs": [TEST]}
    assert splits_of("it", names, README, "small") == {"train": SMALL[1:], "test": SMALL[:1]}
    with pytest.raises(DataError, match="it has no subset 'smal': there is default, small") as error:
        splits_of("it", names, README, "smal")
    assert error.value.fix == "set `subset: small`"
    with pytest.raises(DataError, match="several subsets: there is one, small"):
        splits_of("it", names, README.replace("default", "one"), None)


def test_subsets_and_splits_by_file_names():
    assert splits_of("it", [*SHARDS, TEST], "", None) == {"train_prefs": SHARDS, "test_prefs": [TEST]}
    assert splits_of("it", ["README.md", "a.csv", "b.png"], "no front matter", None) == {"train": ["a.csv"]}
    converted = ["one/train/0000.parquet", "two/train/0000.parquet"]
    assert splits_of("it", converted, "", "two") == {"train": converted[1:]}
    with pytest.raises(DataError, match="several subsets: there is one, two"):
        splits_of("it", converted, "", None)


@pytest.mark.parametrize(
    ("names", "readme", "said"),
    [
        (["it.py"], "", "remote code is never run"),
        (["a.png", "b.tar"], "", r"it holds \.png, \.tar"),
        (["a.csv"], "---\nconfigs: [\n---", "README of it"),
        (["a.csv"], "---\nconfigs:\n- data_files: a\n---", "README of it"),
        (["a.csv"], "---\nconfigs:\n- config_name: a\n  data_files: https://b.c/d.csv\n---", "lie elsewhere"),
        (["a.csv"], "---\nconfigs:\n- config_name: a\n  data_files: ../*\n---", "lie elsewhere"),
        (["a.csv"], "---\nconfigs:\n- config_name: a\n  data_files: /tmp/**\n---", "lie elsewhere"),
        (["a.csv"], "---\nconfigs:\n- config_name: a\n  data_dir: b/../..\n---", "lie elsewhere"),
        (["a.csv"], "---\nconfigs:\n- config_name: a\n  data_dir: /tmp\n---", "lie elsewhere"),
        (["../a.csv", "/a.csv", "b/../../a.csv"], "", "no files that can be read"),
    ],
)
def test_what_cannot_be_resolved_is_said(names, readme, said):
    with pytest.raises(DataError, match=said) as error:
        splits_of("it", names, readme, None)
    assert error.value.fix


def test_no_name_leads_out_of_the_folder_that_stands_for_the_data_set(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    names = ["../../evil.jsonl", str(tmp_path / "evil.csv"), "a.csv"]
    assert splits_of("it", names, "", None) == {"train": ["a.csv"]}
    assert sorted(tmp_path.rglob("*")) == [temporary]


def test_missing_shards_are_named():
    assert missing_shards([*SHARDS, TEST]) == []
    assert missing_shards([SHARDS[1], TEST]) == ["data/train_prefs (1 of 2 files)"]


ASK = """
import json, sys
from tempering.data.files.sources import hub_commit, hub_files
from tempering.errors import DataError
for arguments in json.loads(sys.argv[1]):
    try:
        found = hub_commit(*arguments) if len(arguments) == 2 else list(map(str, hub_files(*arguments)))
    except DataError as error:
        found = [error.found, error.fix]
    print(json.dumps(found))
"""


@pytest.fixture
def ask(tmp_path):
    """Asks in a process of its own, since the Hub's library reads its settings once."""

    def answers(url, *questions, **settings):
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        env |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        command = [sys.executable, "-c", ASK, json.dumps(questions)]
        done = subprocess.run(command, env=env | settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return answers


def test_a_data_set_on_the_hub_is_fetched_once_and_then_found_without_it(ask):
    def parquet(*rows):
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([{"n": row} for row in rows]), sink)
        return sink.getvalue()

    files = {"README.md": README.encode(), SHARDS[0]: parquet(0, 1), SHARDS[1]: parquet(2), TEST: parquet(3)}
    files |= dict.fromkeys(SMALL, b'{"n": 4}\n')
    hub = HubStandIn({"owner/prefs": files}, gated=["owner/gated"])
    name, train = "owner/prefs", ["owner/prefs", None, "main", "train_prefs"]
    commit, fetched, subset, split, revision, unknown, gated, bad = ask(
        hub.url,
        (name, "main"),
        train,
        (name, "smal", "main", None),
        (name, None, "main", "train"),
        (name, "mian"),
        ("owner/pref", "main"),
        ("owner/gated", None, "main", None),
        ("a b/c", "main"),
    )
    assert commit == COMMIT
    assert [path.partition(COMMIT)[2] for path in fetched] == [f"/{path}" for path in SHARDS]
    assert [record["n"] for path in fetched for _, record in read_records(Path(path))] == [0, 1, 2]
    # Only what is needed was downloaded, and the commit asked for once.
    downloads = [call.rpartition(COMMIT + "/")[2] for call in hub.asked if call.startswith("GET /datasets")]
    assert sorted(downloads) == ["README.md", *SHARDS]
    assert hub.asked.count("GET /api/datasets/owner/prefs/revision/main") == 1
    assert subset == [
        f"the data set {name} has no subset 'smal': there is default, small",
        "set `subset: small`",
    ]
    assert split == fetched  # the only one of its kind
    assert revision == [
        f"the data set {name} has no revision 'mian', only main, v1.0",
        "set `revision: main`",
    ]
    assert unknown[1].startswith("did you mean owner/prefs?")
    assert "is gated" in gated[0]
    assert "HF_TOKEN" in gated[1]
    assert "'a b/c' cannot be the name" in bad[0]
    hub.close()
    offline = {"HF_HUB_OFFLINE": "1"}
    questions = (train, (name, "main"), (name, "small", "main", None), ("owner/other", None, "main", None))
    again, commit, other_subset, other = ask(hub.url, *questions, **offline)
    assert (again, commit) == (fetched, COMMIT)
    for found, fix in (other_subset, other):
        assert "HF_HUB_OFFLINE is set" in found
        assert "home/hub/datasets--owner--" in found
        assert "`path`" in fix
    # A network that is down is the same without the setting.
    assert ask(hub.url, train) == [fetched]


def test_a_cache_that_something_else_has_filled(tmp_path, monkeypatch):
    """Without the list of all files, what is there must do, unless it is plainly a part."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "datasets--some--set/snapshots" / COMMIT
    for name in ("README.md", *SHARDS, "data/test-00001-of-00002.parquet"):
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).touch()
    assert hub_files("some/set", None, COMMIT, "train") == [snapshot / name for name in SHARDS]
    with pytest.raises(DataError, match=r"only a part of data/test \(1 of 2 files\)"):
        hub_files("some/set", None, COMMIT, "test")
    with pytest.raises(DataError, match="some/other@main cannot be read: HF_HUB_OFFLINE is set"):
        hub_files("some/other", None, "main", None)
