{{/* The scope of Patroni, the stem of every name here, and what the operator calls the database cluster. */}}
{{- define "postgres.name" -}}
{{- include "common.name" (dict "root" . "component" "postgres") -}}
{{- end -}}

{{- define "postgres.labels" -}}
{{- include "common.labels" (dict "root" . "component" "postgres") -}}
{{- end -}}

{{- define "postgres.selector" -}}
{{- include "common.selectorLabels" (dict "root" . "component" "postgres") -}}
{{- end -}}

{{/* The members, and nobody else: Patroni looks for them by this label and writes careforall.dev/role beside it. */}}
{{- define "postgres.members" -}}
careforall.dev/postgres: {{ include "postgres.name" . }}
{{- end -}}

{{/* superuser-password, replication-password and rest-password. */}}
{{- define "postgres.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "postgres.name" .)) -}}
{{- end -}}

{{- define "postgres.image" -}}
image: {{ include "common.image" (dict "root" . "image" .Values.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{/* Labels of the pods that are clients of the database: the bootstrap Job and the backups. Call with (dict "root" $ "component" "x" "clientOf" (list "postgres")). */}}
{{- define "postgres.clientLabels" -}}
{{- include "common.podLabels" (dict "root" .root "component" .component "clientOf" .clientOf) -}}
{{- end -}}

{{/* What Patroni keeps in the cluster's own configuration; read once at the first start, handed over by the bootstrap Job afterwards. */}}
{{- define "postgres.dynamic" -}}
ttl: {{ .Values.patroni.ttl }}
loop_wait: {{ .Values.patroni.loopWait }}
retry_timeout: {{ .Values.patroni.retryTimeout }}
primary_start_timeout: {{ .Values.patroni.primaryStartTimeout }}
maximum_lag_on_failover: {{ int64 .Values.patroni.maximumLagOnFailover }}
synchronous_mode: {{ if eq .Values.patroni.synchronousMode "quorum" }}quorum{{ else }}{{ eq .Values.patroni.synchronousMode "on" }}{{ end }}
synchronous_mode_strict: {{ .Values.patroni.synchronousStrict }}
failsafe_mode: {{ .Values.patroni.failsafeMode }}
postgresql:
  use_pg_rewind: true
  use_slots: true
  parameters:
    hot_standby: "on"
    wal_log_hints: "on"
    {{- range $name, $value := .Values.parameters }}
    {{ $name }}: {{ if kindIs "float64" $value }}{{ $value }}{{ else }}{{ $value | quote }}{{ end }}
    {{- end }}
    {{- include "postgres.archiveParameters" . | nindent 4 }}
{{- end -}}

{{- define "postgres.archiveParameters" -}}
archive_mode: "on"
{{- if .Values.backup.enabled }}
archive_timeout: {{ .Values.backup.archiveSeconds }}s
archive_command: /etc/careforall/backup/store.sh put %p wal/%f
{{- else }}
# Nothing to do at once, and backups can be switched on later without a restart.
archive_command: /bin/true
{{- end }}
{{- end -}}

{{/* What a Secret in the cluster has, else `fresh`. */}}
{{- define "postgres.kept" -}}
{{- $data := (lookup "v1" "Secret" .root.Release.Namespace .secret | default dict).data | default dict -}}
{{- if hasKey $data .key }}{{ get $data .key | b64dec }}{{ else }}{{ .fresh }}{{ end -}}
{{- end -}}

{{- define "postgres.readerPassword" -}}
{{- $dsn := include "postgres.kept" (dict "root" .root "secret" .secret "key" .key "fresh" "") -}}
{{- if $dsn }}{{ regexReplaceAll "^[^:]+://[^:]+:([^@]+)@.*$" $dsn "${1}" }}{{ else }}{{ randAlphaNum 32 }}{{ end -}}
{{- end -}}

{{- define "postgres.backupClaim" -}}
{{- .Values.backup.store.existingClaim | default (printf "%s-backups" (include "postgres.name" .)) -}}
{{- end -}}

{{/* What a pod needs to reach the store of WAL and backups: commands or a volume, and the script that knows which. */}}
{{- define "postgres.storeEnv" -}}
{{- if eq .Values.backup.store.kind "commands" }}
{{- range $verb, $line := .Values.backup.store.commands }}
- name: STORE_{{ upper $verb }}
  value: {{ $line | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "postgres.storeEnvFrom" -}}
{{- with .Values.backup.store.existingSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
{{- end -}}

{{- define "postgres.storeMounts" -}}
- {name: backup-scripts, mountPath: /etc/careforall/backup, readOnly: true}
{{- if eq .Values.backup.store.kind "volume" }}
- {name: backups, mountPath: /backups}
{{- end }}
{{- end -}}

{{- define "postgres.storeVolumes" -}}
- name: backup-scripts
  configMap:
    name: {{ include "postgres.name" . }}-backup
    defaultMode: 0555
{{- if eq .Values.backup.store.kind "volume" }}
- name: backups
  persistentVolumeClaim:
    claimName: {{ include "postgres.backupClaim" . }}
{{- end }}
{{- end -}}
