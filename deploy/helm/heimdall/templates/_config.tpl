{{/* heimdall.toml: the section "config" of the values, and what the other values lead to. */}}

{{/* The addresses of the cluster's DNS, as JSON. */}}
{{- define "heimdall.clusterDNS" -}}
{{- $dns := .Values.clusterDNS -}}
{{- $addresses := $dns.addresses -}}
{{- if not $addresses -}}
{{- $service := lookup "v1" "Service" $dns.service.namespace $dns.service.name | default dict -}}
{{- $address := dig "spec" "clusterIP" "" $service -}}
{{- if or (not $address) (eq $address "None") -}}
{{- fail (printf "clusterDNS.addresses is not set, and no Service %s/%s was found to take the address of. Set it to what this says: kubectl -n %s get service %s -o jsonpath={.spec.clusterIP}" $dns.service.namespace $dns.service.name $dns.service.namespace $dns.service.name) -}}
{{- end -}}
{{- $addresses = list $address -}}
{{- end -}}
{{- $servers := list -}}
{{- range $addresses }}{{ $servers = append $servers (contains ":" . | ternary (printf "[%s]:53" .) .) }}{{ end -}}
{{ toJson $servers }}
{{- end }}

{{/* The section [redis], as JSON. */}}
{{- define "heimdall.redis" -}}
{{- $redis := .Values.redis -}}
{{- $external := $redis.external -}}
{{- $set := dict "enabled" $redis.enabled -}}
{{- if include "heimdall.ownRedis" . -}}
{{- $host := printf "%s-redis.%s.svc.%s" (include "heimdall.fullname" .) .Release.Namespace (.Values.clusterDNS.domain | default "cluster.local") -}}
{{- $_ := set $set "url" (printf "redis://%s%s:6379" ($redis.auth.enabled | ternary "heimdall@" "") $host) -}}
{{- $_ := set $set "resolver" (include "heimdall.clusterDNS" . | fromJsonArray) -}}
{{- else if $redis.enabled -}}
{{- $_ := set $set "url" $external.url -}}
{{- $domain := .Values.clusterDNS.domain -}}
{{- if $external.resolver -}}
{{- $_ := set $set "resolver" $external.resolver -}}
{{- else if and $domain (contains (printf ".%s" $domain) (printf "%s %s" $external.url $external.replicaUrl)) -}}
{{- $_ := set $set "resolver" (include "heimdall.clusterDNS" . | fromJsonArray) -}}
{{- end -}}
{{- if $external.replicaUrl }}{{ $_ := set $set "replica_url" $external.replicaUrl }}{{ end -}}
{{- if $external.sentinel.user }}{{ $_ := set $set "sentinel_user" $external.sentinel.user }}{{ end -}}
{{- end -}}
{{- range include "heimdall.secrets" . | fromJsonArray -}}
{{- if hasPrefix "redis." .sets }}{{ $_ := set $set (trimPrefix "redis." .sets) (printf "/run/secrets/heimdall/%s" .file) }}{{ end -}}
{{- end -}}
{{ toJson $set }}
{{- end }}

{{/* What of which Secret is mounted, under which name, and the key of the configuration that names the file. */}}
{{- define "heimdall.secrets" -}}
{{- $redis := .Values.redis -}}
{{- $all := list -}}
{{- if and (include "heimdall.ownRedis" .) $redis.auth.enabled -}}
{{- $all = append $all (merge (dict "file" "redis-password" "sets" "redis.password_file") (include "heimdall.redisAuth" . | fromJson)) -}}
{{- else if and $redis.enabled $redis.external.url -}}
{{- $of := $redis.external -}}
{{- if $of.auth.secret }}{{ $all = append $all (dict "secret" $of.auth.secret "key" $of.auth.key "file" "redis-password" "sets" "redis.password_file") }}{{ end -}}
{{- if $of.sentinel.secret }}{{ $all = append $all (dict "secret" $of.sentinel.secret "key" $of.sentinel.key "file" "sentinel-password" "sets" "redis.sentinel_password_file") }}{{ end -}}
{{- if $of.tls.secret -}}
{{- if $of.tls.ca }}{{ $all = append $all (dict "secret" $of.tls.secret "key" $of.tls.ca "file" "redis-ca.pem" "sets" "redis.ca_file") }}{{ end -}}
{{- if $of.tls.cert -}}
{{- $all = append $all (dict "secret" $of.tls.secret "key" $of.tls.cert "file" "redis-cert.pem" "sets" "redis.cert_file") -}}
{{- $all = append $all (dict "secret" $of.tls.secret "key" $of.tls.key "file" "redis-key.pem" "sets" "redis.key_file") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $redis.enabled .Values.seal.enabled -}}
{{- $all = append $all (merge (dict "file" "seal" "sets" "redis.secret_file") (include "heimdall.sealOf" . | fromJson)) -}}
{{- if and .Values.seal.secret .Values.seal.formerKey }}{{ $all = append $all (dict "secret" .Values.seal.secret "key" .Values.seal.formerKey "file" "former-seal" "sets" "redis.former_secret_file") }}{{ end -}}
{{- end -}}
{{- if .Values.flushToken.secret }}{{ $all = append $all (dict "secret" .Values.flushToken.secret "key" .Values.flushToken.key "file" "token" "sets" "watch.token_file") }}{{ end -}}
{{ toJson $all }}
{{- end }}

{{- define "heimdall.toml" -}}
{{- $set := deepCopy .Values.config -}}
{{- $listen := list "0.0.0.0:1053" -}}
{{- if include "heimdall.onHost" . }}{{ $listen = list (printf (contains ":" .Values.nodeLocal.address | ternary "[%s]:53" "%s:53") .Values.nodeLocal.address) }}{{ end -}}
{{- if and .Values.ipv6 (not (include "heimdall.onHost" .)) }}{{ $listen = append $listen "[::]:1053" }}{{ end -}}
{{- $_ := set $set "accept" (merge (dict "listen" $listen) ($set.accept | default dict)) -}}
{{- $_ := set $set "redis" (merge (include "heimdall.redis" . | fromJson) ($set.redis | default dict)) -}}
{{- $watch := dict "enabled" true "http" "0.0.0.0:9053" -}}
{{- range include "heimdall.secrets" . | fromJsonArray -}}
{{- if hasPrefix "watch." .sets }}{{ $_ := set $watch (trimPrefix "watch." .sets) (printf "/run/secrets/heimdall/%s" .file) }}{{ end -}}
{{- end -}}
{{- $_ := set $set "watch" (merge $watch ($set.watch | default dict)) -}}
{{- $fetch := $set.fetch | default dict -}}
{{- $routes := $fetch.routes | default dict -}}
{{- $own := list -}}
{{- if .Values.clusterDNS.domain }}{{ $own = prepend .Values.clusterDNS.reverse .Values.clusterDNS.domain }}{{ end -}}
{{- range $own }}{{ $routes = merge $routes (dict . (include "heimdall.clusterDNS" $ | fromJsonArray)) }}{{ end -}}
{{- $_ := set $set "fetch" (omit $fetch "routes") -}}
{{- with include "heimdall.faults" (dict "root" . "set" $set "routes" $routes) | fromJsonArray }}{{ fail (printf "the server would refuse this:\n  %s" (join "\n  " .)) }}{{ end -}}
{{- range $section, $keys := $set }}
{{- if $keys }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{- if kindIs "map" $value }}{{ fail (printf "config.%s.%s is a table, and none is known there" $section $key) }}{{ end }}
{{- if ne (toString $value) "<nil>" }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}
{{- if $routes }}
[fetch.routes]
{{- range $suffix, $servers := $routes }}
{{ toJson $suffix }} = {{ toJson $servers }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the user of the nodes may do in Redis: the line of docs/redis.md, without name and password. */}}
{{- define "heimdall.acl" -}}
{{- $prefix := (.Values.config.redis | default dict).prefix | default "heimdall" -}}
resetkeys ~{{ $prefix }}:* resetchannels &{{ $prefix }}:* +@read +@write +@scripting +@pubsub +@connection +time -@dangerous +role +cluster|slots
{{- end }}
