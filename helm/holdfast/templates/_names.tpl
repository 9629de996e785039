{{- define "holdfast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimAll "-" }}
{{- end }}

{{/*
50 characters: the longest of what is put behind it, and room for a pod's suffix. A release may have
dots in its name, a Service may not.
*/}}
{{- define "holdfast.fullname" -}}
{{- $name := include "holdfast.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $full .Values.fullnameOverride | replace "." "-" | trunc 50 | trimAll "-" }}
{{- end }}

{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ include "holdfast.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Not of pods: a new version of the chart alone would restart them. */}}
{{- define "holdfast.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "holdfast.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "holdfast.policyMap" -}}
{{- default (printf "%s-policy" (include "holdfast.fullname" .)) .Values.policy.existingConfigMap }}
{{- end }}

{{/* Whether there is a policy to mount; without one the shipped defaults hold. */}}
{{- define "holdfast.hasPolicy" -}}
{{- if or .Values.policy.content .Values.policy.existingConfigMap }}yes{{ end }}
{{- end }}

{{/* What every container here may do: nothing that the restricted Pod Security Standard forbids. */}}
{{- define "holdfast.security" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "holdfast.anyAddress" -}}
{{- eq .Values.ipFamily "IPv6" | ternary "::" "0.0.0.0" }}
{{- end }}

{{/* As it stands in a URL. */}}
{{- define "holdfast.loopback" -}}
{{- eq .Values.ipFamily "IPv6" | ternary "[::1]" "127.0.0.1" }}
{{- end }}
