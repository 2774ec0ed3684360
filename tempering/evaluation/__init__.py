"""Measuring models: completions and their scores, perplexity, questions, minimal pairs, preferences."""
