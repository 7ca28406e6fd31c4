"""The supervisor: starts, follows and stops one detached program per job id. Standard library only, Python 3.10 or newer."""
