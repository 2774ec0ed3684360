"""The artifact store: immutable, versioned stage outputs, found again by fingerprint.

Start with `store.py` (the store itself) and `kinds.py` (what a stage gets as input); `draft.py`
is what a stage writes into. Nothing here imports torch, prefect or pandas at module level.
"""
