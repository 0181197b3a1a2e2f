"""Measurements of a model and its tokenizer that another tokenizer does not distort."""
