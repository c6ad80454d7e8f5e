{{/*
Names and labels. The release's name is the prefix of everything.
Call with (dict "root" $ "component" "nats"), where root is the chart's top context.
*/}}

{{/* <release>-<component>, at most 63 characters. */}}
{{- define "common.name" -}}
{{- printf "%s-%s" .root.Release.Name .component | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What never changes in an object's life, and what selectors may use. */}}
{{- define "common.selectorLabels" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* All labels of an object. */}}
{{- define "common.labels" -}}
{{ include "common.selectorLabels" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: careforall
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/* Labels of pods; what a pod may reach is said by its careforall.dev/*-client labels, which network policies read. */}}
{{- define "common.podLabels" -}}
{{ include "common.selectorLabels" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: careforall
{{- range $server := .clientOf | default list }}
careforall.dev/{{ $server }}-client: "true"
{{- end }}
{{- end -}}
