"""What a recording is. Standard library only: PID 1, which never loads isx, imports it too."""
