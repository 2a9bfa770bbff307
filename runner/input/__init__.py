"""What a run works on: recordings are found, pre-checked by a process of their own, and related to sessions."""
