"""HTTP besides GraphQL: health, downloads, webhook calls, pages, and the middleware and protocols of all requests."""
