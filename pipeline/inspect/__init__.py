"""What every recording's results are: one module a kind, and what they share."""
