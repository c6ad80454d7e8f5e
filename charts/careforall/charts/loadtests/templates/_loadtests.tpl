{{/*
What a profile plays, in the form of the package careforall_load; secret and run come by variables.
Call with (dict "root" $ "profile" "smoke").
*/}}
{{- define "loadtests.order" -}}
{{- $own := .root.Values -}}
{{- $table := .root.Files.Get "files/scenarios.yaml" | fromYaml -}}
{{- $names := $own.only | default (keys $table.scenarios | sortAlpha) -}}
{{- $scenarios := dict -}}
{{- range $names -}}
{{- $_ := set $scenarios . (get $table.scenarios . | required (printf "loadtests.only: there is no scenario %s in loadtests/scenarios.yaml" .)) -}}
{{- end -}}
{{- $words := $scenarios | toJson -}}
{{- $before := list -}}
{{- range $table.before -}}
{{- if contains (printf "{{%s}}" .value) $words -}}{{- $before = append $before . -}}{{- end -}}
{{- end -}}
{{- $_ := set $table "scenarios" $scenarios -}}
{{- $_ := set $table "before" $before -}}
{{- $profile := get $table.profiles .profile | required (printf "loadtests.profiles: there is no profile %s in loadtests/scenarios.yaml" .profile) -}}
{{- dict
  "table" $table
  "profile" $profile
  "url" ($own.url | default $own.global.publicUrl | trimSuffix "/")
  "headers" $own.headers
  "secret" ""
  "run" ""
  "scenarios" $names
  | toJson -}}
{{- end -}}
