"""The engine: claims runs, launches attempts, ingests what they report."""
