"""Load tests: one table of scenarios (`../scenarios.yaml`), played by k6 or by Locust, told in one form of report.

Both tools play the same visits at the same rate (open model) and judge them by the same limits, so that a figure does not hang
on the tool. k6 cannot read YAML and Locust is not everywhere: this package reads the table and hands each what it needs.
"""
