"""A deployment needs a server with our work pool; one without is named before anything is made."""

from pathlib import Path

import pytest

from tempering.errors import UserError


class _Bare:
    """A client of a server that has nothing."""

    def read_work_pool(self, name: str) -> None:
        from prefect.exceptions import ObjectNotFound

        raise ObjectNotFound(Exception(f"no {name}"))


def test_a_server_without_the_pool(tmp_path: Path) -> None:
    from flows.service.deployments import Spec, deploy

    with pytest.raises(UserError, match="no work pool temper"):
        deploy(_Bare(), Spec("toy", tmp_path, tmp_path, {}))  # type: ignore[arg-type]
