{{- define "tiergate.pod" -}}
{{- $mountsSecrets := has .Values.secret.as (list "files" "csi") -}}
# The drain, of which lbDelay is a part, then the last rows, and 15 s for the kubelet and a slow disk.
terminationGracePeriodSeconds: {{ add .Values.shutdown.drain (include "tiergate.deliver" .) 15 }}
serviceAccountName: {{ include "tiergate.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false # its variables would look like settings
securityContext:
  runAsNonRoot: true
  runAsUser: 8484
  runAsGroup: 8484
  fsGroup: 8484
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "tiergate.selector" . | nindent 8 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
containers:
  - name: tiergate
    image: {{ include "tiergate.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: [serve, --host, 0.0.0.0, --workers, {{ .Values.workers | quote }}]
    {{- if eq .Values.secret.as "variables" }}
    envFrom:
      - secretRef: {name: {{ include "tiergate.secret" . }}}
    {{- end }}
    env:
      # No preStop: at SIGTERM /ready answers 503 at once, and the gateway accepts calls for lbDelay.
      - {name: TIERGATE_SERVER__LB_DELAY, value: {{ .Values.shutdown.lbDelay }}s}
      - {name: TIERGATE_SERVER__DRAIN, value: {{ .Values.shutdown.drain }}s}
      - {name: TIERGATE_LEDGER__DELIVER_ON_STOP, value: {{ include "tiergate.deliver" . }}s}
      - {name: TIERGATE_CONFIG, value: /etc/tiergate/gateway.yaml}
      - {name: TIERGATE_DATA, value: /data}
      {{- if ne .Values.secret.as "variables" }}
      - {name: TIERGATE_SECRETS_FOLDER, value: {{ .Values.secret.folder }}}
      {{- end }}
      {{- with .Values.extraEnv }}{{ toYaml . | nindent 6 }}{{ end }}
    ports:
      - {name: http, containerPort: 8484}
    startupProbe: # the first start fills the store and closes calls that a crash left open
      httpGet: {path: /health, port: http}
      periodSeconds: 2
      failureThreshold: 60
    readinessProbe:
      httpGet: {path: /ready, port: http}
      periodSeconds: 3
      failureThreshold: 1
    livenessProbe:
      httpGet: {path: /health, port: http}
      periodSeconds: 10
      failureThreshold: 6
    resources: {{- toYaml .Values.resources | nindent 6 }}
    securityContext:
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
    volumeMounts:
      - {name: data, mountPath: /data}
      - {name: config, mountPath: /etc/tiergate, readOnly: true}
      - {name: tmp, mountPath: /tmp}
      {{- if $mountsSecrets }}
      - {name: secrets, mountPath: {{ .Values.secret.folder }}, readOnly: true}
      {{- end }}
      {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 6 }}{{ end }}
volumes:
  - name: config
    configMap: {name: {{ include "tiergate.configMap" . }}}
  - name: tmp
    emptyDir: {}
  {{- if eq .Values.mode "deployment" }}
  - name: data
    emptyDir: {sizeLimit: {{ .Values.emptyDir.sizeLimit }}}
  {{- end }}
  {{- if eq .Values.secret.as "files" }}
  - name: secrets
    secret: {secretName: {{ include "tiergate.secret" . }}, defaultMode: 288} # 0440
  {{- else if eq .Values.secret.as "csi" }}
  - name: secrets
    csi:
      driver: secrets-store.csi.k8s.io
      readOnly: true
      volumeAttributes: {secretProviderClass: {{ include "tiergate.secret" . }}}
  {{- end }}
  {{- with .Values.extraVolumes }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
