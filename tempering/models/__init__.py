"""Model families, heads, adapters, loading and saving.

Importing this package is cheap (no torch): planning reads `config`. `loading` and `adapters`
do the work and import torch and transformers.
"""
