"""Looks at the pod before the work."""
