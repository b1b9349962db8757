"""Notifications between processes that rows have changed, and streams shared by their followers."""
