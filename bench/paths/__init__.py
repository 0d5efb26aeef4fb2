"""The paths that are measured side by side: one file each, all made of `space.Space`s.

A path has a name, the spaces of its client and server, and the server's address; making it may raise `Skip`.
"""
