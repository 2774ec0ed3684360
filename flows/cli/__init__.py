"""The command line `temper`: one module per command, over the pipeline."""
