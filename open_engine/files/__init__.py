"""Reading and writing recordings: movies, cell sets, event sets, vessel sets."""
