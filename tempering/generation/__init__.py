"""How a model answers: sampling, decoding, engines, and log-probabilities."""
