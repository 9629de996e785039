{{/*
For a pod of your own. The context is this chart's: `.Subcharts.holdfast` in a chart that depends on it.

  initContainers: {{- include "holdfast.sidecar" .Subcharts.holdfast | nindent 8 }}
  containers:
    - env: {{- include "holdfast.agentEnv" .Subcharts.holdfast | nindent 12 }}
  volumes: {{- include "holdfast.volumes" .Subcharts.holdfast | nindent 8 }}
*/}}

{{/* A native sidecar: started and ready before the agent, ended after it, in the way of no Job. */}}
{{- define "holdfast.sidecar" -}}
{{- include "holdfast.isSidecar" . -}}
{{- $item := include "holdfast.container" (dict "holdfast" . "sidecar" true) -}}
- {{ $item | indent 2 | trim }}
  restartPolicy: Always
{{- end }}

{{- define "holdfast.isSidecar" -}}
{{- if ne .Values.mode "sidecar" }}
{{- fail "holdfast: its templates for pods of your own need `mode: sidecar`" }}
{{- end }}
{{- end }}

{{/* Base URLs under the names that SDKs and agents read, as `holdfast run` sets them. No key. */}}
{{- define "holdfast.agentEnv" -}}
{{- include "holdfast.isSidecar" . -}}
{{- $root := printf "http://%s:%d" (include "holdfast.loopback" .) (int .Values.ports.data) -}}
{{- $url := $root -}}
{{- with .Values.sidecar.agent }}{{ $url = printf "%s/a/%s" $url . }}{{ end -}}
{{- if .Values.sidecar.sessionPerPod }}{{ $url = printf "%s/s/$(HOLDFAST_POD)" $url -}}
- name: HOLDFAST_POD
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{ end -}}
- {name: HOLDFAST_URL, value: {{ $root | quote }}}
- {name: OPENAI_BASE_URL, value: {{ printf "%s/v1" $url | quote }}}
- {name: OPENAI_API_BASE, value: {{ printf "%s/v1" $url | quote }}}
- {name: ANTHROPIC_BASE_URL, value: {{ $url | quote }}}
- {name: ANTHROPIC_API_BASE, value: {{ $url | quote }}}
{{- end }}

{{/* Of the pod; mounted by Holdfast's container alone, since the ledger's folder holds its secrets. */}}
{{- define "holdfast.volumes" -}}
{{- include "holdfast.isSidecar" . -}}
- name: holdfast-ledger
  emptyDir: {sizeLimit: {{ .Values.sidecar.ledgerSize }}}
{{- include "holdfast.policyVolume" . }}
{{- end }}

{{- define "holdfast.policyVolume" -}}
{{- if include "holdfast.hasPolicy" . }}
- name: holdfast-policy
  configMap: {name: {{ include "holdfast.policyMap" . | quote }}}
{{- end }}
{{- end }}
