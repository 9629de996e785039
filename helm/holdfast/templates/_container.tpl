{{/*
Holdfast's container, for both modes: `dict "holdfast" CONTEXT "sidecar" BOOL`.

A sidecar's data port listens on loopback: whoever else could reach it would spend the agent's money.
Its admin port takes a token, and listens on the pod's address, for probes and Prometheus.

Each of its variables that a Service's name could bring about (HOLDFAST_PORT=tcp://… of a Service
called holdfast) is set here: what a container says of itself counts before service links.
*/}}
{{- define "holdfast.container" -}}
{{- $root := .holdfast -}}
{{- $values := $root.Values -}}
{{- $any := include "holdfast.anyAddress" $root -}}
{{- $loopback := include "holdfast.loopback" $root | trimAll "[]" -}}
{{- if eq (int $values.ports.data) (int $values.ports.admin) }}
{{- fail "holdfast: ports: data and admin need one each" }}
{{- end -}}
name: holdfast
image: {{ include "holdfast.image" $root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: [serve]
env:
  - {name: HOLDFAST_HOST, value: {{ .sidecar | ternary $loopback $any | quote }}}
  - {name: HOLDFAST_PORT, value: {{ $values.ports.data | int | quote }}}
  - {name: HOLDFAST_ADMIN_HOST, value: {{ $any | quote }}}
  - {name: HOLDFAST_ADMIN_PORT, value: {{ $values.ports.admin | int | quote }}}
  {{- if not .sidecar }}
  - name: HOLDFAST_ADMIN_HOSTS
    {{- $name := printf "%s-admin" (include "holdfast.fullname" $root) }}
    {{- $space := printf "%s.%s" $name $root.Release.Namespace }}
    {{- $own := list $name $space (print $space ".svc") (print $space ".svc.cluster.local") }}
    value: {{ concat $own (default list $values.gateway.adminHosts) | join "," | quote }}
  {{- end }}
  {{- $redis := $values.gateway.redis }}
  {{- if or .sidecar (not (include "holdfast.redis" $root)) }}
  - {name: HOLDFAST_STORE, value: "sqlite:////var/lib/holdfast/holdfast.db"}
  {{- else }}
  {{- if $redis.url }}
  - {name: HOLDFAST_STORE, value: {{ $redis.url | quote }}}
  {{- else }}
  - name: HOLDFAST_STORE
    valueFrom: {secretKeyRef: {name: {{ $redis.existingSecret | quote }}, key: {{ $redis.key | quote }}}}
  {{- end }}
  - name: HOLDFAST_CHAIN_KEY
    valueFrom: {secretKeyRef: {name: {{ $redis.chainKey.existingSecret | quote }}, key: {{ $redis.chainKey.key | quote }}}}
  {{- end }}
  - {name: HOLDFAST_STATE_DIR, value: /var/lib/holdfast}
  {{- if include "holdfast.hasPolicy" $root }}
  - {name: HOLDFAST_POLICY, value: {{ printf "/etc/holdfast/policy/%s" $values.policy.key | quote }}}
  {{- end }}
  - {name: HOLDFAST_WORKERS, value: {{ $values.workers | int | quote }}}
  - {name: HOLDFAST_DRAIN_SECONDS, value: {{ $values.drainSeconds | int | quote }}}
  - {name: HOLDFAST_LOG_LEVEL, value: {{ $values.logLevel }}}
  {{- with $values.adminToken }}
  {{- if .existingSecret }}
  - name: HOLDFAST_ADMIN_TOKEN
    valueFrom: {secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .key | quote }}}}
  {{- end }}
  {{- end }}
  {{- include "holdfast.variables" $values | nindent 2 }}
ports:
  {{- if not .sidecar }}
  - {name: holdfast, containerPort: {{ $values.ports.data | int }}}
  {{- end }}
  - {name: holdfast-admin, containerPort: {{ $values.ports.admin | int }}}
# In a sidecar this holds the agent back until its calls can be served.
startupProbe:
  httpGet: {path: /readyz, port: holdfast-admin}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: holdfast-admin}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
# A minute: a restart loses the streams of everybody.
livenessProbe:
  httpGet: {path: /healthz, port: holdfast-admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources: {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- include "holdfast.security" $root | nindent 2 }}
  runAsUser: {{ $values.user | int64 }}
  runAsGroup: {{ $values.group | int64 }}
volumeMounts:
  - {name: holdfast-ledger, mountPath: /var/lib/holdfast}
  {{- if include "holdfast.hasPolicy" $root }}
  # The folder, not the file (subPath): a file mounted alone stays the one it was.
  - {name: holdfast-policy, mountPath: /etc/holdfast/policy, readOnly: true}
  {{- end }}
{{- end }}

{{/* Whether a gateway's ledger is in Redis. */}}
{{- define "holdfast.redis" -}}
{{- with .Values.gateway.redis }}{{ if or .url .existingSecret }}yes{{ end }}{{ end -}}
{{- end }}

{{/* Variables from Secrets, and in the open: of `dict "secretEnv" … "env" …`, as values have them. */}}
{{- define "holdfast.variables" -}}
{{- range $name, $from := .secretEnv }}
- name: {{ $name | quote }}
  valueFrom: {secretKeyRef: {name: {{ $from.secret | quote }}, key: {{ $from.key | quote }}}}
{{- end }}
{{- range $name, $value := .env }}
{{- if hasKey (default dict $.secretEnv) $name }}
{{- fail (printf "holdfast: %s is in env and in secretEnv" $name) }}
{{- end }}
- {name: {{ $name | quote }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
