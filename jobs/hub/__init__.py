"""The Hugging Face Hub as the pod sees it, through the real client library."""
