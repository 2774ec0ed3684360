"""The report: what a run made, on one self-contained HTML page."""
