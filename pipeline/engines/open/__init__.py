"""The open engine: published methods on NumPy, SciPy and scikit-learn behind the names of isx.algo."""
