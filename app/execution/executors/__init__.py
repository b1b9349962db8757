"""Places where an attempt can run, behind one Protocol."""
