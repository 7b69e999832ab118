"""A worker: the composition root, from settings to one ASGI application on the inherited socket."""
