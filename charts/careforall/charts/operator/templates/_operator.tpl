{{- define "operator.context" -}}
{{- dict "component" "operator" "clientOf" (list "postgres" "nats" "patroni" "kubernetes" "http") | toJson -}}
{{- end -}}

{{/* What the operator calls the database cluster, and the Secrets it may read. */}}
{{- define "operator.cluster" -}}
{{- .Values.platform.database.clusterName | default (printf "%s-postgres" .Release.Name) -}}
{{- end -}}
{{- define "operator.credentials" -}}
{{- .Values.platform.database.credentialsSecret | default (include "common.databasesSecret" (dict "root" .)) -}}
{{- end -}}
{{- define "operator.rest" -}}
{{- .Values.platform.database.restSecret | default (printf "%s-auth" (include "operator.cluster" .)) -}}
{{- end -}}

{{/* Keys of a Secret as files in a folder of its name; what comes later is mounted later. */}}
{{- define "operator.mounted" -}}
- secret:
    name: {{ .secret }}
    optional: true
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ $.secret }}/{{ . }}}
      {{- end }}
{{- end -}}

{{/* The broker: flag and lag. */}}
{{- define "operator.nats" -}}
{{- $nats := .Values.global.nats -}}
{{- $address := $nats.address | default (printf "%s-nats:4222" .Release.Name) -}}
{{- if $nats.permissions -}}
{{- printf "nats://operator:$(NATS_PASSWORD)@%s" $address -}}
{{- else -}}
{{- printf "nats://%s" $address -}}
{{- end -}}
{{- end -}}
{{- define "operator.monitors" -}}
{{- $name := printf "%s-nats" .Release.Name -}}
{{- if .Values.global.nats.address -}}
{{- printf "http://%s:8222" (first (splitList ":" .Values.global.nats.address)) -}}
{{- else -}}
{{- $urls := list -}}
{{- range $index := until (int (.Values.global.nats.streamReplicas | default 1)) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s-members:8222" $name $index $name) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}
{{- end -}}
