"""A module run as a program that ends with whoever started it: `python -m flows.service.tied MODULE ...`.

Its stdin is a pipe from the supervisor. The pipe closes when the supervisor dies, however it dies, and no
process of a service is left behind to hold its port or to take runs.
"""

import os
import runpy
import sys
import threading


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
