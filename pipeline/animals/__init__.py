"""The stage after the sessions: one animal's cells, followed over all of them, and the page of the animal."""
