"""The results of a session: its recordings on one clock, in one folder, on one page."""
