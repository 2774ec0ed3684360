"""Tempering as a service: what runs all the time beside the runs."""
