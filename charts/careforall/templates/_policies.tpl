{{/* Pieces of network policies, and the names of the entries of services that are enabled. */}}
{{- define "careforall.policy" }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "common.name" . }}
  labels:
    {{- include "common.labels" . | nindent 4 }}
spec:
{{- end }}
{{- define "careforall.pods" -}}
podSelector:
  matchLabels:
    app.kubernetes.io/instance: {{ .root.Release.Name }}
    {{- range $key, $value := .labels }}
    {{ $key }}: {{ $value | quote }}
    {{- end }}
{{- end }}
{{- define "careforall.namespaces" -}}
namespaceSelector:
  {{- if . }}
  matchLabels:
    {{- toYaml . | nindent 4 }}
  {{- else }} {}
  {{- end }}
{{- end }}
{{- define "careforall.enabled" -}}
{{- $names := list -}}
{{- range $name := keys .Values.services.services | sortAlpha -}}
{{- $entry := mergeOverwrite (deepCopy $.Values.services.defaults) (deepCopy (get $.Values.services.services $name | default dict)) -}}
{{- if $entry.enabled }}{{ $names = append $names $name }}{{ end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Annotations of what `helm test` runs. */}}
{{- define "careforall.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
