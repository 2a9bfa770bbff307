"""The open engine: the steps of isx.algo, computed by this project's own code from published methods."""
