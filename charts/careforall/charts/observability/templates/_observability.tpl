{{/* Whether an option of auto, on and off asks for a kind of monitoring.coreos.com. Call with (dict "root" $ "option" "auto"). */}}
{{- define "observability.wanted" -}}
{{- if or (eq .option "on") (and (eq .option "auto") (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}yes{{ end -}}
{{- end -}}

{{/* Where the runbooks are, instead of the path in the repository that the rules name. */}}
{{- define "observability.rules" -}}
{{- .Files.Get "files/rules.yaml" | replace "docs/runbooks/" (printf "%s/" (trimSuffix "/" .Values.rules.runbookUrl)) -}}
{{- end -}}

{{/* Refuses a collector that cannot work. */}}
{{- define "observability.check" -}}
{{- if not .Values.collector.exporters -}}
{{- fail "observability.collector.exporters: say where traces go, such as otlp_http: {endpoint: https://traces.example.org}" -}}
{{- end -}}
{{- if and .Values.collector.tailSampling.enabled (gt (int .Values.collector.replicas) 1) -}}
{{- fail "observability.collector.replicas: tail sampling needs all spans of a trace in one place, so one replica" -}}
{{- end -}}
{{- if ge (int .Values.collector.memory.spikePercentage) (int .Values.collector.memory.limitPercentage) -}}
{{- fail (printf "observability.collector.memory.spikePercentage: %d is kept free below limitPercentage, %d, so it must be less" (int .Values.collector.memory.spikePercentage) (int .Values.collector.memory.limitPercentage)) -}}
{{- end -}}
{{- if not .Values.global.otlpUrl -}}
{{- fail (printf "global.otlpUrl: observability.collector.enabled is true, so send traces there: http://%s-collector:4318/v1/traces" .Release.Name) -}}
{{- end -}}
{{- end -}}

{{/* The collector's configuration, as JSON, which is YAML too. */}}
{{- define "observability.config" -}}
{{- $own := .Values.collector -}}
{{- $steps := list "memory_limiter" -}}
{{- $processors := dict
  "memory_limiter" (dict "check_interval" "1s" "limit_percentage" (int $own.memory.limitPercentage) "spike_limit_percentage" (int $own.memory.spikePercentage))
  "batch" (dict "send_batch_size" (int $own.batch.size) "timeout" (printf "%dms" (int $own.batch.timeoutMilliseconds))) -}}
{{- if $own.tailSampling.enabled -}}
{{- $steps = append $steps "tail_sampling" -}}
{{- $policies := list
  (dict "name" "errors" "type" "status_code" "status_code" (dict "status_codes" (list "ERROR")))
  (dict "name" "slow" "type" "latency" "latency" (dict "threshold_ms" (int $own.tailSampling.slowMilliseconds)))
  (dict "name" "some" "type" "probabilistic" "probabilistic" (dict "sampling_percentage" (int $own.tailSampling.keepPercentage))) -}}
{{- $_ := set $processors "tail_sampling" (dict "decision_wait" (printf "%ds" (int $own.tailSampling.decisionSeconds)) "num_traces" (int $own.tailSampling.traces) "policies" $policies) -}}
{{- end -}}
{{- $pipeline := dict "receivers" (list "otlp") "processors" (append $steps "batch") "exporters" (keys $own.exporters | sortAlpha) -}}
{{- $reader := dict "pull" (dict "exporter" (dict "prometheus" (dict "host" "0.0.0.0" "port" 8888))) -}}
{{- dict
  "receivers" (dict "otlp" (dict "protocols" (dict "http" (dict "endpoint" "0.0.0.0:4318"))))
  "processors" $processors
  "exporters" $own.exporters
  "extensions" (dict "health_check" (dict "endpoint" "0.0.0.0:13133"))
  "service" (dict "extensions" (list "health_check") "pipelines" (dict "traces" $pipeline) "telemetry" (dict "metrics" (dict "readers" (list $reader))))
  | toYaml -}}
{{- end -}}
