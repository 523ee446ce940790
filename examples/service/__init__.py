"""A small web service on Redis: sessions, cache, lock, background tasks and live events."""
