"""What PID 1 and the processes that it starts say to one another, and what holds for each of these processes."""
