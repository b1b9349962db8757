"""What a data file or a model is, found out in a child process which loads and executes nothing of it."""
