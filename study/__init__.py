"""How recordings make sessions, decided by what they state. Standard library only: `runner` imports it."""
