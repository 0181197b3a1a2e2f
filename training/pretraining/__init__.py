"""Continued pretraining: the loop, what learns in it, what follows each step."""
