"""Settings for the whole session: offline, no telemetry, one way of threading."""

import os

for name, value in {
    "OMP_NUM_THREADS": "1",  # tiny models: a second thread costs more than it gives
    "GOMP_SPINCOUNT": "10000",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # a test without a server must not start one unseen
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}.items():
    os.environ.setdefault(name, value)

import copy  # noqa: E402
import gc  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store that fills up with the artifacts of the tiny pipeline as tests ask for them."""
    from tempering.artifacts.store import Store

    return Store(tmp_path_factory.mktemp("tiny-store"))


@pytest.fixture(scope="session")
def tiny(tiny_store: Any) -> Callable[..., Any]:
    """`tiny("sft")` is the artifact of that node of the tiny pipeline; made once a session."""
    from tests.tiny import run_nodes

    nodes = tiny_nodes({})
    made: dict[str, Any] = {}
    return lambda name: run_nodes(tiny_store, nodes, name, made)


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Starts `python -c` in processes that have imported torch already; see `tests.forked`."""
    from tests.forked import Forks

    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()


@pytest.fixture
def judge() -> Iterator[Any]:
    """A server that answers questions as told; see `tests.stand_in`."""
    from tests.stand_in import serving

    with serving() as server:
        yield server


def tiny_nodes(changes: dict[str, Any]) -> list[Any]:
    """The nodes of the tiny pipeline with `section.field: value` changes."""
    from flows.build import build_graph
    from flows.config import PipelineConfig
    from tempering.validation import validate
    from tests.tiny import PIPELINE

    tree = copy.deepcopy(PIPELINE)
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node[last] = value
    return build_graph(validate(PipelineConfig, tree, "tiny"))


@pytest.fixture
def nodes() -> Callable[[dict[str, Any]], list[Any]]:
    """Builds the tiny pipeline's nodes with changes."""
    return tiny_nodes


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent


def pytest_collection_finish() -> None:
    """Libraries and tests stay: no garbage collection looks through their million objects again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say aloud how many real data sets were not there; a skip never counts as loaded."""
    skipped = terminalreporter.stats.get("skipped", [])
    if any("no real samples in" in str(report.longrepr) for report in skipped):
        from tests.data.real_samples import CASES

        terminalreporter.write_line(f"{len(CASES)} real data sets were skipped: they are not on this machine")
