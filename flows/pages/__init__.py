"""What Prefect's web pages show of a run: artifacts, log lines, events."""
