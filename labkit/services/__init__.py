"""The lab's host processes: one module for each, and the supervisor that keeps them running."""
