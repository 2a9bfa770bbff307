"""Recipes: what they may say, whether one can be used, and running one."""
