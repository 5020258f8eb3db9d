"""Image streams as an event-sourced service: tags with a history that survives deletes."""

__version__ = "0.1.0"
