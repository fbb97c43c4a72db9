"""What is measured, and who hears of it: the lab's own exporter, alert rules, and alerts that fire."""
