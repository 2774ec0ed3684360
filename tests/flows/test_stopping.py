"""The signals of a command, in a process of its own: what it ends with, and when."""

import signal
import subprocess
import sys
import time

import pytest

# A command that waits.
COMMAND = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a CI in the background ignores it
import flows.cli.main as main, flows.stopping
flows.stopping.PATIENCE, flows.stopping._LOOK = {patience}, 0.2

def wait(args):
    print("ready", flush=True)
    {body}

main._parse = lambda arguments: __import__("argparse").Namespace(command=wait)
sys.exit(main.main([]))
"""
SLEEP = "time.sleep(30)"
SWALLOW = """
    while True:
        try:
            time.sleep(30)
        except KeyboardInterrupt:
            print("swallowed", flush=True)
"""
ONCE = """
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        pass
    try:
        time.sleep(30)
    finally:
        print("in order")
"""
TURNED = """
    class Slow:
        def __set_name__(self, owner, name):
            time.sleep(30)
    try:
        class Holder:  # Python 3.11 makes a RuntimeError of it
            slow = Slow()
    finally:
        print("in order")
"""


def begin(body: str, before: str = "", patience: float = 1.0) -> "subprocess.Popen[str]":
    code = before + COMMAND.replace("{body}", body.strip()).replace("{patience}", str(patience))
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)  # until it is inside of the body's first `try`
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_ends_a_command_without_a_traceback(number: int) -> None:
    # A suite under `nohup` ignores SIGHUP.
    process = begin(SLEEP, "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n")
    process.send_signal(number)
    assert process.communicate(timeout=10)[1] == ""
    assert process.returncode == 128 + number


@pytest.mark.parametrize("body", [ONCE, TURNED])
def test_a_stop_that_is_swallowed_or_turned_into_an_error_is_one(body: str) -> None:
    process = begin(body, patience=9.0)  # a busy machine takes its time
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("in order\n", "")
    assert process.returncode == 143


def test_the_second_one_ends_it_at_once_and_time_does_too() -> None:
    # A library that swallows the exception cannot hold the process for long.
    patient, twice = begin(SWALLOW), begin(SWALLOW)
    for process in (patient, twice):
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "swallowed\n"
    start = time.monotonic()
    twice.send_signal(signal.SIGINT)
    assert twice.wait(5) == 128 + signal.SIGINT
    assert time.monotonic() - start < 0.9
    assert patient.wait(5) == 128 + signal.SIGTERM


def test_what_is_ignored_from_outside_stays_ignored() -> None:
    """As under `nohup`."""
    process = begin(SLEEP, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 143
