"""Runs a cluster's pods as processes of this machine, and says of them what a kubelet would say.

Pods ask for it with the label `lab.labkit.dev/run: process`; all others are KWOK's. One program for each cluster:

    runner → pods (one worker for each pod) → containers (image, private folder, process, log, probes)
    proxy  → services: `http://backend:8080` between pods, without root and without DNS

A process is no container: nothing limits what it uses or sees. What cannot be had this way is refused visibly.
"""
