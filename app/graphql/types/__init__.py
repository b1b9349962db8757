"""The object types of the graph."""
