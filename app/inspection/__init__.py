"""Finds out what a data file or a model is, in a child process that loads and executes nothing of it."""
