"""`python -m careforall_testing.observability`: writes dashboards and rules into the chart."""

from careforall_testing.observability.files import write

write()
