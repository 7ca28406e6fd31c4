"""Weight files and model folders, without any machine-learning library."""
