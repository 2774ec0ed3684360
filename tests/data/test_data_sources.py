"""Where local files are, and which split they belong to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tempering.data.files import read_records
from tempering.data.files.sources import local_files
from tempering.data.files.splits import Split, split_of
from tempering.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Makes files and asks for a split; the answer is in paths below the folder."""

    def ask(files, split=None):
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("{}")
        return [path.relative_to(tmp_path).as_posix() for path in local_files([tmp_path], split)]

    return ask


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train", ("train", "train")),
        ("train-00000-of-00002", ("train", "train")),
        ("train-00000-of-00001-a09b74b3ef9c3b56", ("train", "train")),
        ("data/test_prefs-00000-of-00001", ("test_prefs", "test")),
        ("random-00000-of-00001", ("random", "")),
        ("train_0", ("train", "train")),
        ("dev-v1.1", ("dev", "validation")),
        ("mrpc.valid", ("valid", "validation")),
        ("childes.train", ("train", "train")),
        ("hh_harmless_base_test", ("test", "test")),
        ("test_prefs/0000", ("test_prefs", "test")),
        ("default/train/0000", ("train", "train")),
        ("train_10M/childes.dev", ("train_10M", "train")),
        ("odd/data-00000-of-00001", ("odd", "")),
        ("data-00000-of-00001", None),
        ("adjunct_island", None),
        ("trains", None),
        ("contest_answers", None),
    ],
)
def test_names_say_the_split(path, split):
    assert split_of(path.split("/"), declared=["odd"]) == (Split(*split) if split else None)


def test_a_folder_is_its_data_files_in_order(folder):
    data = ["a.jsonl", "b/a.parquet", "b/c.csv.gz", "c.json.zst", "d.tsv", "e.arrow", "f.txt"]
    others = ["README.md", "README.txt", "LICENSE.txt", ".hidden.jsonl", ".git/a.json", "dataset_infos.json"]
    others += [
        "state.json",
        "b/dataset_info.json",
        "cache-00ff.arrow",
        "notes.pdf",
        "a.py",
        "__pycache__/a.txt",
    ]
    assert folder([*reversed(data), *others]) == data


def test_data_is_told_by_its_form_whatever_its_name(folder):
    data = ["c.JSONL.GZ", "d.Csv.Zst", "notice.json", "requirements.csv", "sources.jsonl"]
    assert folder([*data, "sources.txt", "Notice.text"]) == data


@pytest.mark.parametrize("name", ["b.jsonl.bz2", "b.json.xz", "sub/b.CSV.XZ", "b.txt.zip", "b.parquet.lz4"])
def test_a_packing_that_is_not_read_is_not_passed_over(folder, name):
    with pytest.raises(DataError, match="packed in a way that is not read"):
        folder(["a.jsonl", name])
    plain = name.rsplit(".", 1)[0]
    assert folder([plain]) == sorted(["a.jsonl", plain])  # it is there unpacked as well


def test_what_only_describes_the_data_may_be_packed_in_any_way(folder):
    assert folder(["a.jsonl", "README.txt.bz2", "logs.xz"]) == ["a.jsonl"]


def test_a_folder_that_may_not_be_read_is_not_passed_over(folder, tmp_path, monkeypatch):
    folder(["a.jsonl", "closed/b.jsonl"])
    scan = os.scandir

    def refuse(place):
        if Path(place).name == "closed":
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="closed cannot be read: Permission denied"):
        local_files([tmp_path], None)


def test_without_split_the_train_split_is_taken_or_else_everything(folder):
    assert folder(["train.jsonl", "test.jsonl"]) == ["train.jsonl"]


def test_files_of_no_split_are_all_taken(folder):
    assert folder(["b.jsonl", "test.jsonl", "a.jsonl"]) == ["a.jsonl", "b.jsonl", "test.jsonl"]


def test_nothing_is_left_out_beside_a_train_split_without_a_word(folder):
    with pytest.raises(DataError, match=r"others of none, such as extra\.jsonl") as error:
        folder(["train.jsonl", "extra.jsonl", "vocab.json"])
    assert "`split: train`" in error.value.fix
    assert folder([], "train") == ["train.jsonl"]


SHARDS = ["data/train_prefs-00000-of-00002.parquet", "data/train_prefs-00001-of-00002.parquet"]


def test_splits_are_asked_for_by_name_or_kind(folder):
    files = [*SHARDS, "data/train_sft-00000-of-00001.parquet", "data/test_prefs-00000-of-00001.parquet"]
    assert folder(files, "train_prefs") == SHARDS
    assert folder([], "test_prefs") == folder([], "test") == [files[-1]]
    with pytest.raises(DataError, match="more than one split for 'train': there is test_prefs, "):
        folder([])
    with pytest.raises(DataError, match="no split 'train_perfs'") as error:
        folder([], "train_perfs")
    assert error.value.fix == "set `split: train_prefs`"


@pytest.mark.parametrize("asked", ["validation", "valid", "dev", "val"])
@pytest.mark.parametrize("name", ["validation.csv", "valid/1.csv", "a.dev", "val-00000-of-00001.csv"])
def test_validation_has_four_names(folder, asked, name):
    assert folder([name, "train.csv", "test.csv"], asked) == [name]


def test_a_folder_without_splits_says_so(folder):
    with pytest.raises(DataError, match="no split 'train': there is none at all") as error:
        folder(["a.csv"], "train")
    assert error.value.fix == "drop `split`"


def test_folders_of_save_to_disk(folder, tmp_path):
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "odd"]}')
    shard, state = "data-00000-of-00001.arrow", "state.json"
    assert folder([f"train/{shard}", f"train/{state}", f"odd/{shard}", f"odd/{state}"]) == [f"train/{shard}"]
    assert folder([], "odd") == [f"odd/{shard}"]
    (tmp_path / "dataset_dict.json").write_text('{"splits": ')
    with pytest.raises(DataError, match=r"dataset_dict\.json is damaged"):
        folder([])


def test_what_save_to_disk_writes_is_read(tmp_path):
    from datasets import Dataset, DatasetDict

    splits = {"train": Dataset.from_list([{"a": 1}, {"a": 2}]), "odd": Dataset.from_list([{"a": 3}])}
    DatasetDict(splits).save_to_disk(tmp_path / "saved")
    (file,) = local_files([tmp_path / "saved"], None)
    assert list(read_records(file)) == [(0, {"a": 1}), (1, {"a": 2})]
    (file,) = local_files([tmp_path / "saved" / "odd"], None)
    assert list(read_records(file)) == [(0, {"a": 3})]


def test_files_named_one_by_one(tmp_path):
    (tmp_path / "x").mkdir()
    train, test, other = (tmp_path / name for name in ("train.jsonl", "test.jsonl", "other.pdf"))
    for path in (train, test, other):
        path.write_text("{}")
    assert local_files([test, other, train], None) == [test, other, train]
    assert local_files([test, train], "test") == [test]
    assert local_files([test, tmp_path / "x" / ".." / "test.jsonl", train, test], None) == [test, train]
    with pytest.raises(DataError, match="no split 'dev': there is test, train"):
        local_files([test, train], "dev")
    with pytest.raises(DataError, match="a single file has no splits") as error:
        local_files([train], "train")
    assert error.value.fix.startswith("drop `split`")


def test_paths_that_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="does not exist") as error:
        local_files([Path("HuggingFaceH4/ultrafeedback_binarized")], None)
    assert "`hub: HuggingFaceH4/ultrafeedback_binarized`" in error.value.fix
    with pytest.raises(DataError, match="does not exist") as error:
        local_files([Path("data/rows.jsonl")], None)
    assert "hub: data/rows" not in error.value.fix
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no data files"):
        local_files([Path("empty")], None)


def test_links_to_folders_are_followed_once(folder, tmp_path):
    folder(["a/rows.csv"])
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert len(folder([])) == 1


def test_finding_files_imports_nothing_heavy(tmp_path):
    (tmp_path / "a.csv").touch()
    code = (
        "import sys; from pathlib import Path\n"
        "from tempering.data.files.sources import local_files\n"
        "from tempering.hub.revisions import hub_commit\n"
        f"local_files([Path({str(tmp_path)!r})], None); hub_commit('a/b', '0' * 40)\n"
        "print([name for name in ('pyarrow', 'datasets', 'huggingface_hub', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
