"""Data: from foreign files to canonical rows, from rows to tokens, from tokens to a sample.

`rows` says what a row is, `builders` normalise foreign schemas into rows, `parts` splits them
into train and eval, `tokenizers` and `encode` turn rows into tokens, `sampling` mixes data sets
and cuts them to a token limit. Modules that hold configuration import nothing heavy.
"""
