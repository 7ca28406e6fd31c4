import { readFile } from 'node:fs/promises';
import { isCollection, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
import { notBuilt } from '../domain/not-built.ts';
import { withChanges, type SpecChanges } from '../domain/spec-changes.ts';
import { parseSpec, type PipelineSpec, type SpecFault } from '../contract/spec.ts';

export interface LocatedFault extends SpecFault {
  /** 1-based; null when the fault is about something that is not in the file. */
  line: number | null;
}

/** A spec file that cannot be run, with every fault, its path and its line. */
export class SpecFileError extends Error {
  override readonly name = 'SpecFileError';
  readonly file: string;
  readonly faults: readonly LocatedFault[];

  constructor(file: string, faults: readonly LocatedFault[]) {
    super(`${file} has ${faults.length} fault(s)`);
    this.file = file;
    this.faults = faults;
  }
}

/** Reads a YAML (or JSON) spec, with changes to it, or throws {@link SpecFileError} with all faults at once. */
export async function readSpecFile(file: string, changes: SpecChanges = {}): Promise<PipelineSpec> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    const { code } = error as { code?: string };
    const message = code === 'ENOENT' ? 'there is no such file' : `cannot be read (${code ?? 'unknown reason'})`;
    throw new SpecFileError(file, [{ path: '', line: null, message }]);
  });
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const broken = document.errors.map(({ message, pos }) => ({ path: '', message, line: lines.linePos(pos[0]).line }));
  if (broken.length > 0) throw new SpecFileError(file, broken);
  const parsed = parseSpec(Object.keys(changes).length > 0 ? withChanges(document.toJS(), changes) : document.toJS());
  const faults = parsed.ok ? notBuilt(parsed.spec) : parsed.faults;
  if (parsed.ok && faults.length === 0) return parsed.spec;
  throw new SpecFileError(
    file,
    faults.map((fault) => ({ ...fault, line: lineOf(document, lines, fault.path) })),
  );
}

/** The line of a path, or of its nearest parent that exists in the file. */
function lineOf(document: Document, lines: LineCounter, path: string): number | null {
  const keys = path === '' ? [] : path.split('.').map((key) => (/^\d+$/.test(key) ? Number(key) : key));
  for (let length = keys.length; length > 0; length--) {
    const node = document.getIn(keys.slice(0, length), true);
    if ((isScalar(node) || isCollection(node)) && node.range) return lines.linePos(node.range[0]).line;
  }
  return null;
}
