"""Stands in for Kargo's control plane behind Kargo's own CRDs, where the genuine one cannot run.

A room of its own: the lab's supervisor starts it as `python -m labkit.kargolite --config FILE`, nobody imports it.
"""
