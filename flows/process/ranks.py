"""Several processes for one stage, as accelerate and torch.distributed expect them.

The stage's own process is rank 0. It forks the others at once, before anything is computed, so the libraries
are there already and no device has been touched; they share its process group and end with it. Only rank 0
writes and answers.
"""

import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, get_context
from typing import Any

from tempering.errors import StageStopped


@contextmanager
def beside(count: int, work: Callable[[], Any]) -> Iterator[None]:
    """Run `work` in `count - 1` further processes while the body runs in this one.

    When one of them fails, this process ends too: it would wait for ever.
    """
    if count == 1:
        yield
        return
    # Where the processes meet.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    address |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    # The other ranks begin; this process is rank 0, and ends when one of them fails.
    context = get_context("fork")
    processes = [
        context.Process(target=_other, args=(work, rank, address), daemon=True) for rank in range(1, count)
    ]
    for process in processes:
        process.start()
    _take_rank(0, address)
    end = threading.Event()
    threading.Thread(target=_watch, args=(processes, end), daemon=True).start()
    # Nobody outlives the body.
    try:
        yield
        end.set()
        for process in processes:
            process.join()
    except Exception as error:
        connection.wait([process.sentinel for process in processes], timeout=1.0)
        lost = [process for process in processes if (process.exitcode or 0) < 0]
        if lost:  # this one failed since nobody answered it
            raise ConnectionError(f"{_ending(lost[0])}; here: {error}") from error
        raise
    finally:
        end.set()
        for process in processes:
            process.kill()


def _take_rank(rank: int, address: dict[str, str]) -> None:
    import torch

    os.environ.update(address | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    threads = max(1, torch.get_num_threads() // int(address["WORLD_SIZE"]))
    os.environ["OMP_NUM_THREADS"] = str(threads)  # else accelerate would take all cores for each
    torch.set_num_threads(threads)


def _other(work: Callable[[], Any], rank: int, address: dict[str, str]) -> None:
    from flows.process.child import die_with_parent

    threading.Thread(target=die_with_parent, daemon=True).start()
    _take_rank(rank, address)
    try:
        work()
    except StageStopped:  # rank 0 says so
        pass
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _watch(processes: list[Any], end: threading.Event) -> None:
    """End this process when another one fails during the work."""
    waiting = {process.sentinel: process for process in processes}
    while waiting:
        for sentinel in connection.wait(list(waiting)):
            process = waiting.pop(sentinel)
            process.join()
            if process.exitcode and not end.wait(5.0):  # if all fail, this one reports it
                print(_ending(process), file=sys.stderr)
                sys.stderr.flush()
                if process.exitcode < 0:
                    os.kill(os.getpid(), signal.SIGKILL)  # so that it may be tried again
                os._exit(1)


def _ending(process: Any) -> str:
    return f"{process.name} of the stage has ended with {process.exitcode}"
