"""The pager, a program that the supervisor runs: receives what Alertmanager sends, and looks after pages.

Three ways lead here, as the severities ask: `info` is written down, `warning` is a message in a chat, `critical` is a
page, which somebody has to acknowledge; where nobody does in time, it escalates to the next on call.
"""
