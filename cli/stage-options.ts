import { ApplicationFailure } from '@temporalio/client';
import { InvalidArgumentError } from 'commander';
import { parse } from 'yaml';
import type { Json } from '../contract/json.ts';
import { STAGES, type Stage } from '../contract/stage-names.ts';
import type { PipelineSpec } from '../contract/spec.ts';
import type { SpecChanges } from '../domain/spec-changes.ts';
import { untilFault } from '../domain/stages-wanted.ts';

/** Parsers of the options that `run start` and `run resume` share. */

export function stageOption(text: string): Stage {
  const stage = STAGES.find((known) => known === text);
  if (stage === undefined) throw new InvalidArgumentError(`must be one of ${STAGES.join(', ')}`);
  return stage;
}

/** Collects `--set path=value`; the value is read as in the spec file. */
export function setOption(text: string, earlier: SpecChanges = {}): SpecChanges {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('must be path=value, for example quantize.groupSize=64');
  let value: Json;
  try {
    value = parse(text.slice(at + 1)) as Json;
  } catch {
    throw new InvalidArgumentError(`"${text.slice(at + 1)}" is not a value as a spec file has it`);
  }
  return { ...earlier, [text.slice(0, at)]: value };
}

/** Before anything is started: can a run of this spec end there? */
export function refuseUntil(spec: PipelineSpec, until: Stage | undefined): void {
  const fault = until === undefined ? null : untilFault(spec, until);
  if (fault !== null) throw ApplicationFailure.nonRetryable(fault, 'InvalidSpec');
}
