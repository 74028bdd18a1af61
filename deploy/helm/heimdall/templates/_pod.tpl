{{/* The pod of a node, for a Deployment and for a DaemonSet. */}}
{{- define "heimdall.pod" -}}
{{- $onHost := include "heimdall.onHost" . -}}
{{- $secrets := include "heimdall.secrets" . | fromJsonArray -}}
metadata:
  labels:
    {{- include "heimdall.selector" (dict "root" . "part" "dns") | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # Another configuration makes other pods.
    checksum/config: {{ include "heimdall.toml" . | sha256sum }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "heimdall.account" . }}
  automountServiceAccountToken: false
  # Variables of Services are no settings of ours.
  enableServiceLinks: false
  # The DNS servers of the host: those of the cluster may be asking us.
  dnsPolicy: Default
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- if $onHost }}
  hostNetwork: true
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- if not $onHost }}
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    {{- end }}
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  {{- if and $onHost .Values.nodeLocal.interface.create }}
  {{- $interface := .Values.nodeLocal.interface.name }}
  initContainers:
    - name: interface
      image: {{ .Values.nodeLocal.interface.image }}
      command: [sh, -c]
      args:
        - |
          ip link show {{ $interface }} >/dev/null 2>&1 || ip link add {{ $interface }} type dummy
          ip address show dev {{ $interface }} | grep -qF ' {{ .Values.nodeLocal.address }}/' ||
            ip address add {{ .Values.nodeLocal.address }}/{{ contains ":" .Values.nodeLocal.address | ternary 128 32 }} dev {{ $interface }}
          ip link set {{ $interface }} up
      securityContext:
        runAsUser: 0
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
          add: [NET_ADMIN]
      resources:
        requests: {cpu: 10m, memory: 16Mi}
        limits: {memory: 32Mi}
  {{- end }}
  containers:
    - name: heimdall
      image: {{ include "heimdall.image" (dict "image" .Values.image "version" .Chart.AppVersion) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [twistd, --nodaemon, --pidfile=, heimdall]
      env:
        - name: HEIMDALL_CONFIG
          value: /etc/heimdall/heimdall.toml
        # What the image sets goes before the file, and an empty variable sets nothing.
        - name: HEIMDALL_ACCEPT_LISTEN
          value: ""
        - name: HEIMDALL_WATCH_HTTP
          value: ""
        - name: HEIMDALL_PEERS_NODE
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: POD_IP
          valueFrom:
            fieldRef:
              fieldPath: status.podIP
        {{- with .Values.extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
      ports:
        {{- range $name, $protocol := dict "dns" "UDP" "dns-tcp" "TCP" }}
        - name: {{ $name }}
          protocol: {{ $protocol }}
          containerPort: {{ if $onHost }}53{{ else }}1053{{ end }}
          {{- if and $.Values.nodeLocal.address (not $onHost) }}
          hostIP: {{ $.Values.nodeLocal.address | quote }}
          hostPort: 53
          {{- end }}
        {{- end }}
        - name: http
          protocol: TCP
          containerPort: 9053
      startupProbe:
        httpGet: {path: /live, port: http}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /live, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /ready, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      {{- if .Values.preStopSeconds }}
      lifecycle:
        preStop:
          # A node that ends takes no more queries at once, so it must not end before all know that it will.
          sleep:
            seconds: {{ .Values.preStopSeconds }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
          {{- if $onHost }}
          add: [NET_BIND_SERVICE]
          {{- end }}
        {{- if $onHost }}
        # Kubernetes gives a capability to root only.
        runAsUser: 0
        {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/heimdall
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if $secrets }}
        - name: secrets
          mountPath: /run/secrets/heimdall
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "heimdall.fullname" . }}
    - name: tmp
      emptyDir:
        sizeLimit: 16Mi
    {{- if $secrets }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range $secrets }}
          - secret:
              name: {{ .secret }}
              items:
                - key: {{ .key | quote }}
                  path: {{ .file }}
          {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.affinity }}
  affinity:
    {{- toYaml .Values.affinity | nindent 4 }}
  {{- else if and (eq .Values.kind "Deployment") (ne .Values.antiAffinity "none") }}
  affinity:
    podAntiAffinity:
      {{- if eq .Values.antiAffinity "hard" }}
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "heimdall.selector" (dict "root" . "part" "dns") | nindent 14 }}
      {{- else }}
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "heimdall.selector" (dict "root" . "part" "dns") | nindent 16 }}
      {{- end }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if eq .Values.kind "Deployment" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "heimdall.selector" (dict "root" . "part" "dns") | nindent 10 }}
  {{- end }}
{{- end }}
