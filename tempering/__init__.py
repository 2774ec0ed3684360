"""Tempering: from raw text to an aligned language model.

This package is the library: data, models, training, on-policy learning, evaluation and the
artifact store. It never imports Prefect, `flows` or `tasks`; importing it pulls in neither
torch nor transformers, so that planning stays fast.
"""

__version__ = "0.1.0"
