"""Who does it: a process for each unit, watched and limited."""
