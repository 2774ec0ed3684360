"""Talking to a model: a conversation, and batches of prompts from a file."""
