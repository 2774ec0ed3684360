"""Rollout engines: whatever completes prompts. Our own decoder, transformers' `generate`, a vLLM server."""
