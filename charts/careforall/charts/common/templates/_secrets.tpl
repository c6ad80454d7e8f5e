{{/*
Which Secrets hold what. Each is either named by the user (existingSecret) or made by the chart.
*/}}

{{/* Secrets of the platform itself: secret-key, webhook-secrets, simulator-secrets, admin-password. */}}
{{- define "common.platformSecret" -}}
{{- .root.Values.global.secrets.existingSecret | default (printf "%s-platform" .root.Release.Name) -}}
{{- end -}}

{{/* One DSN per service (key: its name), one to read each (key: reader-<service>), and `admin` for who makes databases. */}}
{{- define "common.databasesSecret" -}}
{{- .root.Values.global.databases.existingSecret | default (printf "%s-databases" .root.Release.Name) -}}
{{- end -}}

{{/*
A password that is made once and then kept: the value the Secret in the cluster has, else a new one.
Call with (dict "root" $ "secret" "name" "key" "k" "length" 32).
*/}}
{{- define "common.kept" -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- $data := ($there | default dict).data | default dict -}}
{{- if hasKey $data .key -}}
{{- get $data .key | b64dec -}}
{{- else -}}
{{- randAlphaNum (.length | default 32) -}}
{{- end -}}
{{- end -}}
