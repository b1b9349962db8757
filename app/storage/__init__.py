"""Where artifact bytes live."""
