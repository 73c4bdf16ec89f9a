{{/* The name of all objects: that of the release, which is best called tiergate. */}}
{{- define "tiergate.name" -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "tiergate.selector" -}}
app.kubernetes.io/name: tiergate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tiergate.labels" -}}
{{ include "tiergate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "tiergate.image" -}}
{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "tiergate.configMap" -}}
{{ .Values.existingConfigMap | default (include "tiergate.name" .) }}
{{- end }}

{{- define "tiergate.secret" -}}
{{ .Values.secret.name | default (include "tiergate.name" .) }}
{{- end }}

{{- define "tiergate.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create }}{{ include "tiergate.name" . }}
{{- else }}default{{ end }}
{{- end }}

{{/* Seconds for the last rows: without a disk they are lost with the pod. */}}
{{- define "tiergate.deliver" -}}
{{- if eq .Values.mode "deployment" }}{{ max 30 (int .Values.shutdown.deliver) }}{{ else }}{{ int .Values.shutdown.deliver }}{{ end }}
{{- end }}
