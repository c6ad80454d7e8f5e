{{/* Pieces of network policies, and what the services chart knows of its entries. */}}
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
{{- include "services.enabled" (dict "Values" .Values.services) -}}
{{- end -}}
{{- define "careforall.entry" -}}
{{- include "services.entry" (dict "root" (dict "Values" .root.Values.services) "name" .name) -}}
{{- end -}}

{{/* Annotations of what `helm test` runs. */}}
{{- define "careforall.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
