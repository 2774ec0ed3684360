"""Questions to a server that speaks OpenAI's chat completions protocol: one client for all who ask."""
