"""The work on one recording; runs only in worker processes."""
