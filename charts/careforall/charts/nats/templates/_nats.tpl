{{/*
The subjects that a user says something on, as JSON: its own events, and what it asks of others that changes something there.
The operator keeps its flag in a key-value bucket.
*/}}
{{- define "nats.subjects" -}}
{{- $several := dict
  "carts" (list "carts.>" "ask.inventory.>")
  "donations" (list "donations.>" "campaigns.>")
  "operator" (list "$KV.>")
  "orders" (list "orders.>" "checkout.>" "ask.carts.>" "ask.inventory.>" "ask.payments.>" "ask.pricing.>")
  "sync" (list "sync.>" "customer.>")
-}}
{{- get $several . | default (list (printf "%s.>" .)) | toJson -}}
{{- end -}}

{{/* Every user, as JSON. */}}
{{- define "nats.users" -}}
{{- append .Values.global.databases.services "operator" | toJson -}}
{{- end -}}

{{/* The addresses of the servers for each other. */}}
{{- define "nats.routes" -}}
{{- $name := include "common.name" (dict "root" . "component" "nats") -}}
{{- $routes := list -}}
{{- range $index := until (int .Values.replicas) -}}
{{- $routes = append $routes (printf "nats://%s-%d.%s-members:6222" $name $index $name) -}}
{{- end -}}
{{- join ", " $routes -}}
{{- end -}}

{{/* Its settings. Who may say what: see nats.subjects; everybody may hear, because events carry no secrets. */}}
{{- define "nats.settings" -}}
port: 4222
http_port: 8222
server_name: $POD_NAME
pid_file: /run/nats/nats.pid
lame_duck_grace_period: 2s
# 30s is the least the server takes.
lame_duck_duration: 30s
jetstream {
  store_dir: /data
  max_memory_store: {{ .Values.jetstream.maxMemory }}
  max_file_store: {{ .Values.jetstream.maxFile }}
  sync_interval: {{ .Values.jetstream.syncInterval }}
}
{{- if gt (int .Values.replicas) 1 }}
cluster {
  name: {{ .Release.Name }}
  port: 6222
  routes: [{{ include "nats.routes" . }}]
}
{{- end }}
{{- if .Values.global.nats.permissions }}
authorization {
  users: [
    {{- range include "nats.users" . | fromJsonArray }}
    {
      user: {{ . }}
      password: $NATS_PASSWORD_{{ upper . }}
      permissions {
        publish { allow: [{{ range $index, $subject := fromJsonArray (include "nats.subjects" .) }}{{ if $index }}, {{ end }}{{ quote $subject }}{{ end }}, "query.>", "hint.>", "_INBOX.>", "$JS.API.>", "$JS.ACK.>"] }
        subscribe { allow: [">"] }
      }
    }
    {{- end }}
  ]
}
{{- end }}
{{- end -}}
