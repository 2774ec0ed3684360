"""Runs of the toy chain in processes of their own, as in tests/flows."""

from tests.flows.conftest import start as start
