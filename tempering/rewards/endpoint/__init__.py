"""Questions to a server that speaks OpenAI's chat completions protocol: one client for all who ask.

`config` holds the settings, `client` asks, `exchange` is one question and its reply over HTTP, `budget` says
what may still be spent, `cache` keeps answers between runs.
"""
