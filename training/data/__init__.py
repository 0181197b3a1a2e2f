"""Text on its way to the model: rows, splits, mixing, packing."""
