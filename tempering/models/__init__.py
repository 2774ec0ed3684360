"""Model families, heads, adapters, loading and saving.

Importing this package imports torch and transformers and makes the families `lstm` and `kgram` known to
the Auto classes. Settings are in tempering/model_config.py, since planning must not import torch.
"""

import tempering.models.families  # noqa: F401  registers
