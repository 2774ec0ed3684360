"""Files and folders that are whole or not there, whatever happens while they are written."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from tempering.artifacts.atomic import file_trouble, here, publish_folder, sweep, whole_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestFile:
    def test_it_appears_when_the_block_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "rows"
        path.write_text("old")
        with whole_file(path) as temporary:
            temporary.write_text("new")
            assert (path.read_text(), temporary.parent) == ("old", tmp_path)
        assert (names(tmp_path), path.read_text()) == (["rows"], "new")

    def test_after_an_error_the_old_one_is_there_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "rows"
        path.write_text("old")
        with pytest.raises(OSError, match="Is a directory"), whole_file(path) as temporary:
            tmp_path.write_text(temporary.name)
        assert (names(tmp_path), path.read_text()) == (["rows"], "old")

    def test_its_mode_is_that_of_any_new_file(self, tmp_path: Path) -> None:
        umask = os.umask(0o027)
        try:
            with whole_file(tmp_path / "rows"):
                pass
        finally:
            os.umask(umask)
        assert stat.S_IMODE((tmp_path / "rows").stat().st_mode) == 0o640

    def test_a_link_in_its_way_is_not_followed(self, tmp_path: Path) -> None:
        victim, path = tmp_path / "victim", tmp_path / "rows"
        victim.write_text("precious")
        with whole_file(path) as temporary:
            name = temporary
        name.symlink_to(victim)  # as of a process before this one with the same numbers
        with whole_file(path) as temporary:
            temporary.write_text("new")
        assert (victim.read_text(), path.read_text()) == ("precious", "new")

    def test_what_a_kill_left_of_it_goes_with_the_next_writing(self, tmp_path: Path, dead: int) -> None:
        path = tmp_path / "rows.csv"
        ended = threading.Thread()
        ended.start()
        ended.join()
        # Of a dead process, of a dead thread with our process's number, of a living one, of another file.
        for number in (f"{dead}.{dead}", f"{os.getpid()}.{ended.native_id}", f"{os.getppid()}.1"):
            path.with_name(f".tmp-rows.csv.{here()}-{number}").write_text("half")
        path.with_name(f".tmp-more.csv.{here()}-{dead}.{dead}").write_text("half")
        with whole_file(path):
            pass
        living, other = f".tmp-rows.csv.{here()}-{os.getppid()}.1", f".tmp-more.csv.{here()}-{dead}.{dead}"
        assert names(tmp_path) == sorted([living, other, "rows.csv"])

    def test_two_threads_do_not_share_it(self, tmp_path: Path) -> None:
        inside = threading.Barrier(2, timeout=5)

        def write(text: str) -> None:
            with whole_file(tmp_path / "rows") as temporary:
                temporary.write_text(text)
                inside.wait()

        threads = [threading.Thread(target=write, args=(letter * 100_000,)) for letter in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set((tmp_path / "rows").read_text()) in ({"a"}, {"b"})
        assert names(tmp_path) == ["rows"]

    @pytest.mark.parametrize("durable", [True, False])
    def test_it_is_on_the_disk_before_it_has_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
    ) -> None:
        synced: list[tuple[str, bool]] = []
        path = tmp_path / "rows"

        def sync(place: Path) -> None:
            synced.append(("folder" if place == tmp_path else "file", path.exists()))

        monkeypatch.setattr("tempering.artifacts.atomic.sync", sync)
        with whole_file(path, durable=durable):
            pass
        assert synced == ([("file", False), ("folder", True)] if durable else [])


class TestFolder:
    def test_all_may_read_it_and_an_older_one_goes(self, tmp_path: Path) -> None:
        new, place = tmp_path / ".tmp-model-1", tmp_path / "model"
        for folder, text in ((new, "new"), (place, "old")):
            (folder / "inner").mkdir(parents=True, mode=0o700)
            (folder / "inner/weights").write_text(text)
        (new / "inner/weights").chmod(0o600)
        (place / "more").write_text("old")
        publish_folder(new, place)
        assert (names(tmp_path), names(place)) == (["model"], ["inner"])
        assert (place / "inner/weights").read_text() == "new"
        assert stat.S_IMODE((place / "inner").stat().st_mode) == 0o755
        assert stat.S_IMODE((place / "inner/weights").stat().st_mode) == 0o644

    def test_when_it_cannot_be_renamed_the_older_one_is_put_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new, place, rename = tmp_path / ".tmp-model-1", tmp_path / "model", Path.rename

        def refuse(path: Path, target: Path) -> Path:
            if path == new:
                raise OSError("no space")
            return rename(path, target)

        new.mkdir()
        place.mkdir()
        (place / "weights").write_text("old")
        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="no space"):
            publish_folder(new, place)
        assert (place / "weights").read_text() == "old"

    def test_a_stop_between_the_renames_puts_the_older_one_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new, place, rename = tmp_path / ".tmp-model-1", tmp_path / "model", Path.rename

        def stop(path: Path, target: Path) -> Path:
            moved = rename(path, target)
            if path == place:
                raise KeyboardInterrupt
            return moved

        new.mkdir()
        place.mkdir()
        (place / "weights").write_text("old")
        monkeypatch.setattr(Path, "rename", stop)
        with pytest.raises(KeyboardInterrupt):
            publish_folder(new, place)
        assert (place / "weights").read_text() == "old"

    def test_all_of_it_is_on_the_disk_before_it_has_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[tuple[str, bool]] = []
        new, place = tmp_path / ".tmp-point", tmp_path / "point"
        (new / "inner").mkdir(parents=True)
        (new / "inner/state").write_text("x")
        monkeypatch.setattr(
            "tempering.artifacts.atomic.sync", lambda path: synced.append((path.name, place.exists()))
        )
        publish_folder(new, place, durable=True)
        assert sorted(synced[:-1]) == [(".tmp-point", False), ("inner", False), ("state", False)]
        assert synced[-1] == (tmp_path.name, True)


def aside(place: Path, mark: str, pid: int, text: str) -> Path:
    folder = place.with_name(f".{mark}-{place.name}.{here()}-{pid}.{pid}")
    folder.mkdir(parents=True)
    (folder / "weights").write_text(text)
    return folder


def test_a_folder_that_a_kill_left_aside_gets_its_place_back(tmp_path: Path, dead: int) -> None:
    place = tmp_path / "model"
    aside(place, "old", dead, "old")
    aside(place, "tmp", dead, "half of a new one")
    living = aside(place, "tmp", os.getppid(), "of another process")
    sweep(place)
    assert (place / "weights").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, "model"])

    aside(place, "old", dead, "older")
    sweep(place)
    assert (place / "weights").read_text() == "old"


def test_a_place_whose_name_begins_alike_is_left_alone(tmp_path: Path, dead: int) -> None:
    other = aside(tmp_path / f"model.{dead}", "tmp", dead, "another's")
    sweep(tmp_path / "model")
    assert other.exists()


def test_of_another_machine_it_goes_after_a_day(tmp_path: Path, dead: int) -> None:
    """Its process numbers mean nothing here: what looks left may be half of what is being written there."""
    names = [f".tmp-model.0123abcd-{number}.1" for number in (dead, os.getpid())]
    for name in names:
        (tmp_path / name).touch()
    sweep(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for name in names:
        os.utime(tmp_path / name, (0, 0))
    sweep(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_under_a_copy_names_where_it_goes() -> None:
    """Mutation: the file that is read is called full."""
    error = OSError(errno.ENOSPC, "No space left on device", "/usr/template.db", None, "/store/prefect.db")
    trouble = file_trouble(error)
    assert trouble is not None
    assert trouble.found == "/store/prefect.db: the disk is full"
