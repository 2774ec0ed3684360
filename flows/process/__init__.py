"""The process of a stage, and what surrounds it: workers, ranks, slots, and the Prefect server of a run."""
