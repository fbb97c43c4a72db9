"""The promotion guard, a program that the supervisor runs: what the lab does about Promotions by itself.

It is level-triggered, as controllers are: every second each duty looks at the whole state anew, so that nothing is
lost when it was not running.
"""
