{{/*
The reference of an image: a digest beats a tag, the chart's appVersion is the default tag, and
global.imageRegistry goes in front of names that have no registry of their own.
Call with (dict "root" $ "image" .Values.image).
*/}}
{{- define "common.image" -}}
{{- $repository := required "an image needs a repository" .image.repository -}}
{{- with (.root.Values.global | default dict).imageRegistry -}}
{{- if not (or (contains "." (first (splitList "/" $repository))) (contains ":" (first (splitList "/" $repository)))) -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The secrets that open private registries, for a pod's spec. */}}
{{- define "common.imagePullSecrets" -}}
{{- with (.root.Values.global | default dict).imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}
