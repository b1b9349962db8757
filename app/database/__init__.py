"""Tables, migrations and statements: the only place that speaks SQL."""
