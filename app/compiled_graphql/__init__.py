"""Executes operations by plans that are compiled once per document.

graphql-core interprets each field of each object anew: it looks the field up, builds an info, awaits in a task. A plan
does once what depends on the document only, and tells apart what needs any of that. What plans can't do is left to
graphql-core: whole operations (``executor``), resolvers (``resolving.by_rules``) and values
(``completing.leave_to_core``). ``tests/compiled_graphql`` proves that both give the same.
"""

from app.compiled_graphql.executor import CompiledExecutor

__all__ = ["CompiledExecutor"]
