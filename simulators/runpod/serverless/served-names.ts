type Env = Partial<Record<string, string>>;

const FLAG = '--served-model-name';

/** The names vLLM answers to under the worker's environment; of several settings the last wins, as argparse has it. */
export function servedNames(env: Env): string[] {
  const words = (env['VLLM_EXTRA_ARGS'] ?? '').split(/\s+/).filter((word) => word !== '');
  const at = words.findLastIndex((word) => word === FLAG || word.startsWith(`${FLAG}=`));
  const flag = words[at];
  if (flag === undefined) return [env['OPENAI_SERVED_MODEL_NAME_OVERRIDE'] ?? env['MODEL_NAME'] ?? ''];
  if (flag !== FLAG) return [flag.slice(FLAG.length + 1)];
  const rest = words.slice(at + 1);
  const next = rest.findIndex((word) => word.startsWith('--'));
  return next < 0 ? rest : rest.slice(0, next);
}
