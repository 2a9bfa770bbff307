"""The results of each recording: one module for each kind, and the modules that they share."""
