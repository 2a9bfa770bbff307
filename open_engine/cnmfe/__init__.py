"""The model behind `run_cnmfe`: seeds, footprints, traces, background, and which cells to believe."""
