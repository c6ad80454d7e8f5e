"""Dashboards and alerts as code: the files of the observability chart are made from here, and every query is checked.

`boards_*` says what dashboards show, `alerts` what wakes somebody, `grafana` and `files` write both down, `promql` reads queries,
`foreign` names what other programs export. Run `careforall_testing.observability` to write the files anew (`files.REGENERATE`).
"""
