{{/* What things are called. Short enough for a pod's name to be the name of a node, 64 characters. */}}

{{- define "heimdall.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "heimdall.fullname" -}}
{{- $name := include "heimdall.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ .Values.fullnameOverride | default $full | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Arguments: dict "root" $ "part" "dns" or "redis" */}}
{{- define "heimdall.selector" -}}
app.kubernetes.io/name: {{ include "heimdall.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "heimdall.labels" -}}
{{ include "heimdall.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") }}
{{- end }}

{{/* Arguments: dict "image" a section of the values, "version" the tag where none is set */}}
{{- define "heimdall.image" -}}
{{- $of := .image -}}
{{ $of.repository }}{{ if $of.digest }}@{{ $of.digest }}{{ else }}:{{ $of.tag | default .version }}{{ end }}
{{- end }}

{{- define "heimdall.account" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "heimdall.fullname" .) "default") }}
{{- end }}

{{/* The Secret that this chart makes, and what is taken of it, as JSON: empty where Secrets of your own are named. */}}
{{- define "heimdall.made" -}}
{{ include "heimdall.fullname" . }}-secrets
{{- end }}

{{- define "heimdall.makes" -}}
{{- $makes := list -}}
{{- if and (include "heimdall.ownRedis" .) .Values.redis.auth.enabled (not .Values.redis.auth.secret) }}{{ $makes = append $makes "redis-password" }}{{ end -}}
{{- if and .Values.redis.enabled .Values.seal.enabled (not .Values.seal.secret) }}{{ $makes = append $makes "seal" }}{{ end -}}
{{ toJson $makes }}
{{- end }}

{{/* Where the password of the chart's Redis is, and the seal's secret, as JSON: "secret" and "key". */}}
{{- define "heimdall.redisAuth" -}}
{{- $auth := .Values.redis.auth -}}
{{ toJson (ternary (dict "secret" $auth.secret "key" $auth.key) (dict "secret" (include "heimdall.made" .) "key" "redis-password") (not (empty $auth.secret))) }}
{{- end }}

{{- define "heimdall.sealOf" -}}
{{- $seal := .Values.seal -}}
{{ toJson (ternary (dict "secret" $seal.secret "key" $seal.key) (dict "secret" (include "heimdall.made" .) "key" "seal") (not (empty $seal.secret))) }}
{{- end }}

{{/* Whether this chart runs the Redis, and whether the pods use the network of their host: "true" or nothing. */}}
{{- define "heimdall.ownRedis" -}}
{{- if and .Values.redis.enabled (not .Values.redis.external.url) }}true{{ end -}}
{{- end }}

{{- define "heimdall.onHost" -}}
{{- if and .Values.nodeLocal.address (eq .Values.nodeLocal.via "hostNetwork") }}true{{ end -}}
{{- end }}
