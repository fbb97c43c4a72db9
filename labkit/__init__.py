"""labkit: the helper package behind the lab's notebooks.

Notebooks and the command line call the same functions; what they act on is always the genuine API of
Kubernetes, Argo CD, Kargo and Gitea.
"""
