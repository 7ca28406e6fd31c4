"""Files as the pipeline names them: path, size and digests."""
