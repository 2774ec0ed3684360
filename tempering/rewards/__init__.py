"""Reward functions: a learned model, a user's Python function, rules, a random baseline.

A reward function is TRL's callable: `(prompts, completions, **columns) -> list[float | None]`;
None or NaN means "could not be scored": it is left out of baselines and whitening, and never 0.
"""
