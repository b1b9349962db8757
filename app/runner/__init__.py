"""The runner shim: one small process per attempt that runs the stage and outlives the server."""
