"""The GPU toolchain: real tools, each in its own environment, driven as separate programs."""
