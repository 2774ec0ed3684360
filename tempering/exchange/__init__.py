"""Models in from outside and out again: adopt, convert, export, push, and the model card."""
