"""The verbs of the product: each one transaction, no GraphQL types."""
