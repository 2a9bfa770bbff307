"""The work of PID 1. Standard library only: a worker may import everything, PID 1 nothing that can fail."""
