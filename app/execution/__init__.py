"""The engine: claims runs, launches attempts, stores their reports."""
