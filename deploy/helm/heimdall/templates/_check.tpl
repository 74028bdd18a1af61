{{/*
The chart refuses here whatever the server would, in its words: else a pod would end at once, again and again.
files/keys.json says what each key may be; it is drawn from the server's own tables.
*/}}

{{/* Seconds as a number; the argument is a number, or a text such as "5s". */}}
{{- define "heimdall.seconds" -}}
{{- if kindIs "string" . -}}
{{- $units := dict "us" 0.000001 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[a-z]+$" .)) -}}
{{- else -}}
{{- float64 . -}}
{{- end -}}
{{- end }}

{{/* What a key comes to, in seconds. Arguments: dict "set" the sections "known" files/keys.json "section" "key" */}}
{{- define "heimdall.secondsOf" -}}
{{- $value := dig .section .key nil .set -}}
{{- if kindIs "invalid" $value }}{{ $value = (dig .section .key nil .known).default }}{{ end -}}
{{- include "heimdall.seconds" $value -}}
{{- end }}

{{/* "true" where bits of a network are set behind its prefix. The argument is a sound network. */}}
{{- define "heimdall.hostBits" -}}
{{- $powers := list 1 2 4 8 16 32 64 128 256 512 1024 2048 4096 8192 16384 32768 65536 -}}
{{- $six := contains ":" . -}}
{{- $size := $six | ternary 16 8 -}}
{{- $parts := splitList "/" . -}}
{{- $host := first $parts -}}
{{- $prefix := $six | ternary 128 32 -}}
{{- if gt (len $parts) 1 }}{{ $prefix = last $parts | int }}{{ end -}}
{{- $groups := list -}}
{{- if $six -}}
{{- $halves := splitList "::" $host -}}
{{- range compact (splitList ":" (first $halves)) }}{{ $groups = append $groups . }}{{ end -}}
{{- if gt (len $halves) 1 -}}
{{- $behind := compact (splitList ":" (last $halves)) -}}
{{- range until (int (sub (sub 8 (len $groups)) (len $behind))) }}{{ $groups = append $groups "0" }}{{ end -}}
{{- range $behind }}{{ $groups = append $groups . }}{{ end -}}
{{- end -}}
{{- else -}}
{{- $groups = splitList "." $host -}}
{{- end -}}
{{- $set := false -}}
{{- range $at, $group := $groups -}}
{{- $number := 0 -}}
{{- range regexFindAll "." (lower $group) -1 -}}
{{- $digit := regexMatch "[0-9]" . | ternary (int .) (get (dict "a" 10 "b" 11 "c" 12 "d" 13 "e" 14 "f" 15) .) -}}
{{- $number = add (mul $number ($six | ternary 16 10)) $digit -}}
{{- end -}}
{{- $kept := max 0 (min $size (sub $prefix (mul $at $size))) -}}
{{- if ne 0 (int (mod $number (index $powers (int (sub $size $kept))))) }}{{ $set = true }}{{ end -}}
{{- end -}}
{{- if $set }}true{{ end -}}
{{- end }}

{{/* The faults of one value, as JSON. Arguments: dict "path" "value" "rule" */}}
{{- define "heimdall.valueFaults" -}}
{{- $path := .path -}}
{{- $rule := .rule -}}
{{- $faults := list -}}
{{- range kindIs "slice" .value | ternary .value (list .value) -}}
{{- $wrong := false -}}
{{- $why := "" -}}
{{- if hasKey $rule "least" -}}
{{- $seconds := include "heimdall.seconds" . | float64 -}}
{{- $wrong = or (lt $seconds (float64 $rule.least)) (gt $seconds (float64 $rule.most)) -}}
{{- if and $rule.whole (ne (floor $seconds) $seconds) }}{{ $wrong = true }}{{ end -}}
{{- else if kindIs "string" . -}}
{{- $wrong = not (regexMatch $rule.pattern .) -}}
{{- if not $wrong -}}
{{- if contains "a network" $rule.expected -}}
{{- if include "heimdall.hostBits" . }}{{ $wrong = true }}{{ $why = " (bits behind the prefix are set)" }}{{ end -}}
{{- else if regexMatch "(?i)^(tcp://)?\\[(ff|::\\])" . -}}
{{- $wrong = true -}}
{{- $why = " (no one server has that address)" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $wrong }}{{ $faults = append $faults (printf "%s = %s: expected %s%s" $path (toJson .) $rule.expected $why) }}{{ end -}}
{{- end -}}
{{ toJson $faults }}
{{- end }}

{{/* All faults, as JSON. Arguments: dict "root" $ "set" the sections without the routes "routes" */}}
{{- define "heimdall.faults" -}}
{{- $known := .root.Files.Get "files/keys.json" | fromJson -}}
{{- $values := .root.Values -}}
{{- $set := .set -}}
{{- $faults := list -}}
{{- range $section, $keys := $set -}}
{{- range $key, $value := $keys -}}
{{- $rule := dig $section $key dict $known -}}
{{- if and $rule (not (kindIs "invalid" $value)) (not (and (kindIs "string" $value) (not $value))) -}}
{{- range include "heimdall.valueFaults" (dict "path" (printf "config.%s.%s" $section $key) "value" $value "rule" $rule) | fromJsonArray }}{{ $faults = append $faults . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $rule := $known.fetch.routes -}}
{{- $seen := dict -}}
{{- range $suffix, $servers := .routes -}}
{{- $path := printf "config.fetch.routes.%s" $suffix -}}
{{- $name := lower $suffix | trimSuffix "." -}}
{{- if hasKey $seen $name }}{{ $faults = append $faults (printf "%s: expected each suffix once (clusterDNS.domain and clusterDNS.reverse are among them)" $path) }}{{ end -}}
{{- $_ := set $seen $name true -}}
{{- if not (regexMatch $rule.suffix $suffix) }}{{ $faults = append $faults (printf "%s: expected a domain name, such as \"example.com\"" $path) }}{{ end -}}
{{- if and (gt (len $servers) 1) (contains "import:" (join " " $servers)) }}{{ $faults = append $faults (printf "%s: expected servers for a suffix, or one source to import" $path) }}{{ end -}}
{{- range include "heimdall.valueFaults" (dict "path" $path "value" $servers "rule" $rule) | fromJsonArray }}{{ $faults = append $faults . }}{{ end -}}
{{- end -}}

{{- $asked := dig "fetch" "upstreams" list $set -}}
{{- range $servers := .routes }}{{ $asked = concat $asked $servers }}{{ end -}}
{{- if $values.nodeLocal.address -}}
{{- range $asked -}}
{{- if eq $values.nodeLocal.address (trimPrefix "tcp://" . | trimSuffix ":53" | trimPrefix "[" | trimSuffix "]") -}}
{{- $faults = append $faults (printf "nodeLocal.address = %q: expected another address than %q, which is asked" $values.nodeLocal.address .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $of := dict "set" $set "known" $known -}}
{{- $heartbeat := include "heimdall.secondsOf" (merge (dict "section" "peers" "key" "heartbeat") $of) | float64 -}}
{{- $expiry := include "heimdall.secondsOf" (merge (dict "section" "peers" "key" "expiry") $of) | float64 -}}
{{- if ge $heartbeat $expiry }}{{ $faults = append $faults (printf "config.peers.heartbeat = %v: expected less than peers.expiry, %v" $heartbeat $expiry) }}{{ end -}}
{{- $floor := include "heimdall.secondsOf" (merge (dict "section" "cache" "key" "ttl_floor") $of) | float64 -}}
{{- $ceiling := include "heimdall.secondsOf" (merge (dict "section" "cache" "key" "ttl_ceiling") $of) | float64 -}}
{{- if gt $floor $ceiling }}{{ $faults = append $faults (printf "config.cache.ttl_floor = %v: expected at most cache.ttl_ceiling, %v" $floor $ceiling) }}{{ end -}}
{{- $budget := include "heimdall.secondsOf" (merge (dict "section" "redis" "key" "read_budget") $of) | float64 -}}
{{- $deadline := include "heimdall.secondsOf" (merge (dict "section" "fetch" "key" "deadline") $of) | float64 -}}
{{- if and $values.redis.enabled (ge $budget $deadline) }}{{ $faults = append $faults (printf "config.redis.read_budget = %v: expected less than fetch.deadline, %v" $budget $deadline) }}{{ end -}}
{{- $rate := dig "admit" "rate" 0.0 $set | float64 -}}
{{- $burst := dig "admit" "burst" 0.0 $set | float64 | default (mulf 2 $rate) -}}
{{- if and (gt $rate 0.0) (lt $burst 1.0) }}{{ $faults = append $faults (printf "config.admit.burst = %v: expected at least 1, or nobody could ever ask" $burst) }}{{ end -}}

{{- $external := $values.redis.external -}}
{{- if and $values.redis.enabled $external.url -}}
{{- $sentinel := contains "+sentinel://" $external.url -}}
{{- if and $external.sentinel.user (not $external.sentinel.secret) }}{{ $faults = append $faults "redis.external.sentinel.user: expected a redis.external.sentinel.secret beside it" }}{{ end -}}
{{- if and (or $external.sentinel.user $external.sentinel.secret) (not $sentinel) }}{{ $faults = append $faults "redis.external.sentinel: expected a redis.external.url with +sentinel" }}{{ end -}}
{{- if and $external.replicaUrl (contains "+cluster://" $external.url) }}{{ $faults = append $faults "redis.external.replicaUrl: expected none, as redis.external.url is a cluster" }}{{ end -}}
{{- if and $external.tls.secret (ne (empty $external.tls.cert) (empty $external.tls.key)) }}{{ $faults = append $faults "redis.external.tls: expected cert and key, or none of them" }}{{ end -}}
{{- end -}}
{{ toJson $faults }}
{{- end }}
