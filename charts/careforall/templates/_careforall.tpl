{{/* Not empty where PostgreSQL is a server of the user's own. */}}
{{- define "careforall.ownPostgres" -}}
{{- $postgres := .Values.postgres | default dict -}}
{{- if or (not $postgres.enabled) ($postgres.external | default dict).enabled }}yes{{ end -}}
{{- end -}}

{{/* Refuses a second release beside another: an operator keeps every Platform and every Deployment of its namespace. */}}
{{- define "careforall.alone" -}}
{{- range (lookup "apps/v1" "Deployment" .Release.Namespace "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (hasKey $labels "careforall.dev/service") (ne (get $labels "app.kubernetes.io/instance") $.Release.Name) -}}
{{- fail (printf "the namespace %s has the release %s already: their operators would take each other's pods and write each other's flags, so give each release a namespace of its own" $.Release.Namespace (get $labels "app.kubernetes.io/instance")) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses a release whose name makes names that Kubernetes refuses: those of Services, of the bootstrap Job, of the backups' CronJobs. */}}
{{- define "careforall.named" -}}
{{- $most := ternary 29 35 (((.Values.postgres | default dict).backup | default dict).enabled | default false) -}}
{{- if or (gt (len .Release.Name) (int $most)) (not (regexMatch "^[a-z][-a-z0-9]*$" .Release.Name)) -}}
{{- fail (printf "the release %s: names of Services and Jobs begin with its name, so that begins with a letter, has no dots, and is no longer than %v" .Release.Name $most) -}}
{{- end -}}
{{- end -}}

{{/* Refuses what cannot work, with a sentence that says what to do. */}}
{{- define "careforall.check" -}}
{{- include "careforall.alone" . -}}
{{- include "careforall.named" . -}}
{{- $global := .Values.global -}}
{{- if not (or $global.secrets.existingSecret $global.secrets.generate) -}}
{{- fail "global.secrets.existingSecret: name a Secret with secret-key and webhook-secrets, or set global.secrets.generate=true to try the platform out" -}}
{{- end -}}
{{- if not $global.publicUrl -}}
{{- fail "global.publicUrl: say where people reach the platform, such as https://give.example.org" -}}
{{- end -}}
{{- if and (not .Values.nats.enabled) (not $global.nats.address) -}}
{{- fail "global.nats.address: nats.enabled is false, so name your own NATS as host:port" -}}
{{- end -}}
{{- if and (not .Values.nats.enabled) $global.nats.permissions (not $global.nats.existingSecret) -}}
{{- fail "global.nats.existingSecret: nats.enabled is false, so name a Secret with the password of each service under its name, and of operator, or set global.nats.permissions=false where your NATS asks for none" -}}
{{- end -}}
{{- if and (not .Values.valkey.enabled) (not $global.redis.address) (not $global.redis.existingSecret) -}}
{{- fail "global.redis: valkey.enabled is false, so give the address of your own, or a Secret with its url" -}}
{{- end -}}
{{- if and (include "careforall.ownPostgres" .) (not $global.databases.existingSecret) -}}
{{- fail "global.databases.existingSecret: PostgreSQL is your own, so name a Secret with one DSN per service under its name and under reader-<name>, and one under operator for its heartbeat" -}}
{{- end -}}
{{- if and .Values.networkPolicies.enabled (not (include "careforall.ownPostgres" .)) (not .Values.postgres.networkPolicy.enabled) -}}
{{- fail "postgres.networkPolicy.enabled is false, but networkPolicies.enabled closes every pod, so nobody would reach PostgreSQL: leave it on, or set networkPolicies.enabled=false too" -}}
{{- end -}}
{{- if and .Values.nats.enabled (gt (int $global.nats.streamReplicas) (int .Values.nats.replicas)) -}}
{{- fail (printf "global.nats.streamReplicas: %v copies need as many servers, and nats.replicas is %v" $global.nats.streamReplicas .Values.nats.replicas) -}}
{{- end -}}
{{- if and .Values.demo.enabled (ne $global.environment "development") -}}
{{- fail "demo.enabled: made-up gifts belong into global.environment=development only" -}}
{{- end -}}
{{- $database := (.Values.operator.platform | default dict).database | default dict -}}
{{- $auth := ((.Values.postgres | default dict).auth | default dict).existingSecret -}}
{{- $rest := $database.restSecret | default (printf "%s-postgres-auth" .Release.Name) -}}
{{- if and .Values.operator.enabled .Values.postgres.enabled $auth $database.enabled (ne $rest $auth) -}}
{{- fail (printf "operator.platform.database.restSecret: postgres.auth.existingSecret is %s, so name it here too: the operator asks Patroni with its rest-password" $auth) -}}
{{- end -}}
{{- if and .Values.operator.enabled $database.enabled (include "careforall.ownPostgres" .) (eq $database.engine "Patroni") (not $database.clusterName) -}}
{{- fail "operator.platform.database.engine is Patroni, but PostgreSQL is your own: set External, or name its cluster in clusterName where Patroni or CloudNativePG runs it in this namespace" -}}
{{- end -}}
{{- if not .Values.operator.enabled -}}
{{- range $name := include "careforall.enabled" . | fromJsonArray -}}
{{- $entry := include "careforall.entry" (dict "root" $ "name" $name) | fromJson -}}
{{- if eq $entry.scaling.owner "Operator" -}}
{{- fail (printf "services.services.%s.scaling.owner is Operator, but operator.enabled is false: set services.defaults.scaling.owner=Chart" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $front := .Values.services.front -}}
{{- if not (and (has $front (include "careforall.enabled" . | fromJsonArray)) (include "careforall.entry" (dict "root" $ "name" $front) | fromJson).api) -}}
{{- fail (printf "services.front: name an entry of services.services that is enabled and has the role api or all; %s is none" $front) -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.parentRefs: name the Gateway that carries the route" -}}
{{- end -}}
{{- end -}}

{{/* Rules of the front door as JSON: {service, path}, longest path first, and / last. */}}
{{- define "careforall.paths" -}}
{{- $found := dict -}}
{{- range $name := include "careforall.enabled" . | fromJsonArray -}}
{{- $entry := include "careforall.entry" (dict "root" $ "name" $name) | fromJson -}}
{{- if $entry.api -}}
{{- range $entry.routes -}}
{{- if hasKey $found . -}}
{{- fail (printf "services.services.%s.routes: %s belongs to %s already" $name . (get $found .)) -}}
{{- end -}}
{{- $_ := set $found . $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $found "/" .Values.services.front -}}
{{- toJson $found -}}
{{- end -}}
