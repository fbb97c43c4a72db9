"""Kubernetes for the programs that watch it all day: an asyncio client of one API server, and local copies of kinds.

`labkit.kube` is for commands that ask a few questions; what it needs in memory is too much for a program that stays.
"""
