"""The Hugging Face Hub: the commit of a revision, the files of a model, and errors in words."""
