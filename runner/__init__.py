"""What PID 1 does in detail; standard library only."""
