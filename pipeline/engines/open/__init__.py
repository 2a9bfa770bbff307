"""The open engine: the steps of isx.algo from published methods, on NumPy, SciPy and scikit-learn."""
