"""The executors: where attempts run, behind one Protocol."""
