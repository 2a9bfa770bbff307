"""The page of a recording or series, and the methods text beside it."""
