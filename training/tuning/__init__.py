"""Learning to answer and to prefer: material, trainers, where a second tuning starts."""
