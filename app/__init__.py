"""ML Pipeline Thing: runs ML pipelines as real processes and serves their graph over GraphQL, live."""

__version__ = "0.1.0"
