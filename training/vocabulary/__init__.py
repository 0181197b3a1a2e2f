"""More pieces for a tokenizer: the base's own merges are trained on, never replaced."""
