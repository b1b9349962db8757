"""Executes GraphQL operations by plans that are compiled once per document. Its README.md explains how and why."""

from app.compiled_graphql.executor import CompiledExecutor

__all__ = ["CompiledExecutor"]
