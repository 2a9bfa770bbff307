"""What is to be done: units, each with its state, a pure function of the input and of what earlier runs left."""
