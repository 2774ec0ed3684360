"""The command line `temper`: one module a command, over the pipeline."""
