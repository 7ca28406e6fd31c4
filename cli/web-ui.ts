/** Link to a run in the Temporal Web UI; undefined where no UI is configured. */
export function webUiLink(
  env: Readonly<Record<string, string | undefined>>,
  run: { workflowId: string; runId: string },
): string | undefined {
  const base = env['ANNEAL_TEMPORAL_UI_URL'];
  if (!base) return undefined;
  const namespace = env['TEMPORAL_NAMESPACE'] ?? 'default';
  return `${base.replace(/\/+$/, '')}/namespaces/${namespace}/workflows/${encodeURIComponent(run.workflowId)}/${run.runId}/history`;
}
