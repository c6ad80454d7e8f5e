{{/* An entry with its defaults, as JSON. Call with (dict "root" $ "name" "donations"). */}}
{{- define "services.entry" -}}
{{- $entry := mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy (get .root.Values.services .name | default dict)) -}}
{{- $_ := set $entry "name" .name -}}
{{- $_ := set $entry "service" ($entry.service | default .name) -}}
{{- $roles := splitList "," $entry.role -}}
{{- $_ := set $entry "api" (or (has "api" $roles) (has "all" $roles)) -}}
{{- $known := .root.Values.global.databases.services -}}
{{- if not (has $entry.service $known) -}}
{{- fail (printf "services.services.%s: there is no service %s, or it is missing in global.databases.services: %s; an entry of another name says in `service` which of them it runs" .name $entry.service (join ", " $known)) -}}
{{- end -}}
{{- range $entry.calledBy -}}
{{- $plain := trimSuffix "-worker" . -}}
{{- if not (or (hasKey $.root.Values.services .) (has $plain $known) (has . (list "*" "setup" "reconcile" "prewarm" "refresh-view"))) -}}
{{- fail (printf "services.services.%s.calledBy: there is no entry %s in services.services, and no Job of that name" $.name .) -}}
{{- end -}}
{{- end -}}
{{- if lt (int $entry.terminationGracePeriodSeconds) (add (int $entry.preStopSeconds) (int $entry.drainSeconds) 15 | int) -}}
{{- fail (printf "services.services.%s.terminationGracePeriodSeconds: %v is less than preStopSeconds + drainSeconds + 15: gifts under way would be cut off" .name $entry.terminationGracePeriodSeconds) -}}
{{- end -}}
{{- if gt (int $entry.scaling.minReplicas) (int $entry.scaling.maxReplicas) -}}
{{- fail (printf "services.services.%s.scaling: minReplicas %v is more than maxReplicas %v" .name $entry.scaling.minReplicas $entry.scaling.maxReplicas) -}}
{{- end -}}
{{- toJson $entry -}}
{{- end -}}

{{/* Names of the entries that are enabled, as JSON. */}}
{{- define "services.enabled" -}}
{{- $names := list -}}
{{- range $name := keys .Values.services | sortAlpha -}}
{{- if (include "services.entry" (dict "root" $ "name" $name) | fromJson).enabled -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Host names of the servers: the chart's own, or those of the user. */}}
{{- define "services.natsUrl" -}}
{{- $address := .root.Values.global.nats.address | default (printf "%s-nats:4222" .root.Release.Name) -}}
{{- if .root.Values.global.nats.permissions -}}
{{- printf "nats://%s:$(NATS_PASSWORD)@%s" .service $address -}}
{{- else -}}
{{- printf "nats://%s" $address -}}
{{- end -}}
{{- end -}}

{{/* The environment that every process of a service has. Call with (dict "root" $ "service" "donations"). */}}
{{- define "services.environment" -}}
{{- $global := .root.Values.global -}}
{{- $platform := include "common.platformSecret" (dict "root" .root) -}}
{{- $databases := include "common.databasesSecret" (dict "root" .root) -}}
- name: CAREFORALL_ENVIRONMENT
  value: {{ $global.environment }}
- name: CAREFORALL_INSTANCE
  value: {{ .root.Release.Name }}
- name: CAREFORALL_PUBLIC_URL
  value: {{ $global.publicUrl | trimSuffix "/" | quote }}
- name: CAREFORALL_TRUSTED_PROXIES
  value: {{ $global.trustedProxies | quote }}
- name: CAREFORALL_ACCOUNTS_URL
  value: http://{{ .root.Release.Name }}-accounts:8000
- name: CAREFORALL_STREAM_REPLICAS
  value: {{ $global.nats.streamReplicas | quote }}
- name: CAREFORALL_STREAM_MAX_BYTES
  value: {{ int64 $global.nats.streamMaxBytes | quote }}
{{- if $global.otlpUrl }}
- name: CAREFORALL_OTLP_URL
  value: {{ $global.otlpUrl | quote }}
{{- end }}
{{ include "common.secretEnv" (dict "name" "CAREFORALL_SECRET_KEY" "secret" $platform "key" "secret-key") }}
{{ include "common.secretEnv" (dict "name" (printf "CAREFORALL_%s_DATABASE_URL" (upper .service)) "secret" $databases "key" .service) }}
{{ include "common.secretEnv" (dict "name" "CAREFORALL_POSTGRES_URL" "secret" $databases "key" (ternary (printf "reader-%s" .service) .service (.readsEverything | default false))) }}
{{- if .readsEverything }}
{{- range without $global.databases.services .service }}
{{ include "common.secretEnv" (dict "name" (printf "CAREFORALL_%s_DATABASE_URL" (upper .)) "secret" $databases "key" (printf "reader-%s" .)) }}
{{- end }}
{{- end }}
{{- if $global.nats.permissions }}
{{ include "common.secretEnv" (dict "name" "NATS_PASSWORD" "secret" (include "common.natsSecret" (dict "root" .root)) "key" .service) }}
{{- end }}
- name: CAREFORALL_NATS_URL
  value: {{ include "services.natsUrl" . }}
{{- if $global.redis.existingSecret }}
{{ include "common.secretEnv" (dict "name" "CAREFORALL_REDIS_URL" "secret" $global.redis.existingSecret "key" "url") }}
{{- else }}
- name: CAREFORALL_REDIS_URL
  value: redis://{{ $global.redis.address | default (printf "%s-valkey:6379" .root.Release.Name) }}/0
{{- end }}
{{- if has .service (list "payments" "simulator") }}
{{ include "common.secretEnv" (dict "name" "CAREFORALL_WEBHOOK_SECRETS" "secret" $platform "key" "webhook-secrets" "optional" true) }}
{{- if eq $global.environment "development" }}
{{ include "common.secretEnv" (dict "name" "CAREFORALL_SIMULATOR_SECRETS" "secret" $platform "key" "simulator-secrets" "optional" true) }}
- name: CAREFORALL_SIMULATOR_URL
  value: http://{{ .root.Release.Name }}-simulator:8000/simulator
- name: CAREFORALL_SIMULATOR_WEBHOOK_URL
  value: http://{{ .root.Release.Name }}-payments:8000/api/v1/payments/webhook/simulator
{{- end }}
{{- end }}
{{- end -}}

{{/* Settings of an entry: defaults first, its own win; a name stands once. */}}
{{- define "services.settings" -}}
{{- range $name, $value := .settings }}
- name: CAREFORALL_{{ $name | upper }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $from := .secretSettings }}
{{ include "common.secretEnv" (dict "name" (printf "CAREFORALL_%s" (upper $name)) "secret" $from.secret "key" $from.key) }}
{{- end }}
{{- end -}}

{{/* Which servers a service speaks to, for its pods' labels. */}}
{{- define "services.clientOf" -}}
{{- $clients := list "postgres" "nats" "valkey" -}}
{{- if .callsOut }}{{ $clients = append $clients "outside" }}{{ end -}}
{{- toJson $clients -}}
{{- end -}}

{{- define "services.probe" -}}
httpGet:
  path: {{ . }}
  port: http
{{- end -}}
