"""Pure rules of the product: no I/O and no clock. Standard library only, but for ``cronsim`` in ``cron``."""
