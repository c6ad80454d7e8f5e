{{/*
Which Secrets hold what. Each is either named by the user (existingSecret) or made by the chart.
*/}}

{{/* Secrets of the platform itself: secret-key, webhook-secrets, simulator-secrets, admin-password. */}}
{{- define "common.platformSecret" -}}
{{- .root.Values.global.secrets.existingSecret | default (printf "%s-platform" .root.Release.Name) -}}
{{- end -}}

{{/* One DSN per service (key: its name), and one of a role that only reads it (key: reader-<name>), for audit alone. */}}
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
{{- /* A letter first: some servers read what begins with digits as a number. */ -}}
{{- printf "k%s" (randAlphaNum (.length | default 40)) -}}
{{- end -}}
{{- end -}}

{{/* One password per service for NATS. */}}
{{- define "common.natsSecret" -}}
{{- .root.Values.global.nats.existingSecret | default (printf "%s-nats" .root.Release.Name) -}}
{{- end -}}
