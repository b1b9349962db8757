"""A client of the graph: what the commands use to talk to a server, wherever it runs."""
