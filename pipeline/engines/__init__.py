"""Who carries a recipe's steps out."""
