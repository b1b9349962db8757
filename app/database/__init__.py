"""Tables, triggers, migrations, the connection pool, and the statements that read.

Statements that change a run are in ``services.state``.
"""
