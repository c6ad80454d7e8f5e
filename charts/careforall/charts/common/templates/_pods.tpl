{{/* The restricted profile, for a pod. Call with (dict) or (dict "user" 10001). */}}
{{- define "common.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user | default 10001 }}
runAsGroup: {{ .user | default 10001 }}
fsGroup: {{ .user | default 10001 }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The restricted profile, for each container. */}}
{{- define "common.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Pods of one component stand on different nodes and zones where there are any. */}}
{{- define "common.spread" -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ $key }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  {{- if $.rolling }}
  matchLabelKeys: [pod-template-hash]
  {{- end }}
  labelSelector:
    matchLabels:
      {{- include "common.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Where Jobs and other pods that end may stand: where the pods they work for do. Call with the values of those. */}}
{{- define "common.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* One entry of a pod's `env` that reads a Secret. Call with (dict "name" "X" "secret" "s" "key" "k" "optional" false). */}}
{{- define "common.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end -}}

{{/*
The entry of a pod's `env` that lets a program in Go clean up rather than fill more than a share of its container's memory; nothing
where the memory has no limit. Call with (dict "resources" $resources "percentage" 80).
*/}}
{{- define "common.goMemory" -}}
{{- with ((.resources).limits).memory -}}
{{- $kibi := get (dict "Ki" 1 "Mi" 1024 "Gi" 1048576 "Ti" 1073741824) (regexFind "[A-Z]i$" .) -}}
- name: GOMEMLIMIT
  value: {{ printf "%dKiB" (div (mul (regexFind "^[0-9]+" . | int64) $kibi (int64 $.percentage)) 100) }}
{{- end -}}
{{- end -}}
