"""The dashboards as pages, a program that the supervisor runs: where an alert's link leads to.

It keeps no chart and no table in memory: each page is drawn by a short-lived process (labkit.observability.board).
"""
