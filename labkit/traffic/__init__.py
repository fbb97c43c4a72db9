"""Uses the demo app as people would: a program that the supervisor starts, one for all environments.

Requests come at random, at each environment's own rate on average (a Poisson process), and do not wait for each other:
a slow answer makes nobody else slower, as in life.
"""
