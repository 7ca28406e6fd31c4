"""Programs that run under another environment's Python. They import the standard library and that environment only."""
