"""The model registry: numbers versions of named models and moves aliases between them.

Every change locks the row of its registered model, so changes of one model have an order: versions are numbered without
gaps, an alias moves only from where the caller saw it, and the history replays to the present.
"""
