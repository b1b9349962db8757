"""Hints between processes that something changed; rows hold the truth."""
