"""Whether the Prefect server of a run answers, also in the last moment of the run."""

from collections.abc import Iterator

import pytest

from flows import prefect_run
from flows.prefect_run import Contact


def test_a_server_that_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[bool] = iter([False, True, False, False, False, False, False, False, True])
    monkeypatch.setattr(prefect_run, "_LOOK", 60.0)
    monkeypatch.setattr(Contact, "_answers", lambda self: next(answers))
    monkeypatch.setattr(prefect_run.logging, "raiseExceptions", True)
    said: list[str] = []
    contact = Contact("http://127.0.0.1:9/api", said.append)
    contact.look()  # it was slow once
    assert (contact.lost, contact.missed, said) == (False, False, [])
    contact.look()
    contact.look()  # said once
    assert (contact.lost, contact.missed, len(said)) == (True, True, 1)
    with contact:
        assert not prefect_run.logging.raiseExceptions
    contact.look()
    assert (contact.lost, contact.missed) == (False, True)
    assert said[1:] == ["the Prefect server answers again"]
