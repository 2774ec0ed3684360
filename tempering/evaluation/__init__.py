"""Measuring models: completions and their scores, perplexity, questions, choices, pairs, preferences."""
