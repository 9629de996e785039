{{/* The spec of an agent's pod with the sidecar: `dict "root" CONTEXT "restart" POLICY "pause" SECONDS`. */}}
{{- define "holdfast.examplePod" -}}
{{- $root := .root -}}
{{- $example := $root.Values.example -}}
{{- $token := $root.Values.adminToken -}}
{{- range $example.secretEnv }}
{{- if and (eq .secret $token.existingSecret) (eq .key $token.key) }}
{{- fail "holdfast: example.secretEnv: the admin token is not the agent's" }}
{{- end }}
{{- end }}
{{- if $example.simulated -}}
{{- if has (int $example.simulatedPort) (list (int $root.Values.ports.data) (int $root.Values.ports.admin)) }}
{{- fail "holdfast: example.simulatedPort: needs one of its own" }}
{{- end -}}
{{- $url := printf "http://%s:%d/v1" (include "holdfast.loopback" $root) (int $example.simulatedPort) -}}
{{- $env := merge (dict "HOLDFAST_OPENAI_URL" $url) (default dict $root.Values.env) -}}
{{- $root = merge (dict "Values" (merge (dict "env" $env) $root.Values)) $root -}}
{{- end -}}
restartPolicy: {{ .restart }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ add $root.Values.user 1 }}
  runAsGroup: {{ add $root.Values.group 1 }}
  seccompProfile: {type: RuntimeDefault}
# The agent's end, then the sidecar's drain: the two share it.
terminationGracePeriodSeconds: {{ add $root.Values.drainSeconds 20 }}
initContainers:
  {{- if $example.simulated }}
  - name: provider
    image: {{ include "holdfast.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: [simulate, --host, {{ include "holdfast.anyAddress" $root | quote }}, --port, {{ $example.simulatedPort | int | quote }}]
    startupProbe: {tcpSocket: {port: {{ $example.simulatedPort | int }}}, periodSeconds: 1, failureThreshold: 60}
    resources:
      requests: {cpu: 10m, memory: 64Mi}
      limits: {memory: 256Mi}
    securityContext: {{- include "holdfast.security" $root | nindent 6 }}
    restartPolicy: Always
  {{- end }}
  {{- include "holdfast.sidecar" $root | nindent 2 }}
containers:
  - name: agent
    image: {{ default (include "holdfast.image" $root) $example.image | quote }}
    command:
      {{- if $example.command }}
      {{- toYaml $example.command | nindent 6 }}
      {{- else }}
      - python3
      - -c
      - | {{- $root.Files.Get "files/agent.py" | trim | nindent 8 }}
      {{- end }}
    env:
      {{- include "holdfast.agentEnv" $root | nindent 6 }}
      - {name: AGENT_MODEL, value: {{ $example.model | quote }}}
      - {name: AGENT_PAUSE_SECONDS, value: {{ .pause | quote }}}
      {{- include "holdfast.variables" $example | nindent 6 }}
    resources:
      requests: {cpu: 50m, memory: 64Mi}
      limits: {memory: 256Mi}
    securityContext: {{- include "holdfast.security" $root | nindent 6 }}
volumes:
  {{- include "holdfast.volumes" $root | nindent 2 }}
{{- end }}
