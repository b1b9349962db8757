"""HTTP around the API: health, downloads, pages, guards."""
