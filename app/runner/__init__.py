"""The runner shim: one light process per stage attempt, which outlives the server."""
