import type { Command } from 'commander';
import type { ModelRecord } from '../../services/registry/port.ts';
import type { CommandContext } from '../context.ts';
import { toModelView, modelLines, modelTable } from '../model-view.ts';

/** No model of this name was registered by Anneal; which are, is in the message. */
export class ModelUnknown extends Error {
  override readonly name = 'ModelUnknown';
}

/** Several owners have a model of this name. */
export class ModelAmbiguous extends Error {
  override readonly name = 'ModelAmbiguous';
}

/** `anneal model …`: what is registered and answers, from the registry alone. Needs neither Temporal nor a worker. */
export function model(program: Command, context: () => CommandContext): void {
  const group = program.command('model').description('the models that Anneal has registered: where they answer, how');

  group
    .command('list')
    .description('list registered models, the most recently deployed first')
    .addHelpText('after', '\nExamples:\n  anneal model list\n  anneal model list --json')
    .action(async () => {
      const { out, services } = context();
      const views = (await services().registry.modelRecords()).map(toModelView);
      out.result(views, () =>
        views.length === 0
          ? 'no models yet; a run registers one at its end: anneal run start <spec>'
          : modelTable(views),
      );
    });

  group
    .command('show')
    .description('show the registered row of a model, its deployments, and how to call it')
    .argument('<name>', 'its name in the registry')
    .option('--owner <id>', 'when several owners have a model of this name ("-" is nobody)')
    .addHelpText('after', '\nExamples:\n  anneal model show tiny\n  anneal model show tiny --owner team-a --json')
    .action(async (name: string, { owner }: { owner?: string }) => {
      const { out, services } = context();
      const { registry } = services();
      const found = await registry.modelRecords(name);
      if (found.length === 0) throw unknown(name, await registry.modelRecords());
      const view = toModelView(oneOf(name, found, owner));
      out.result(view, () => modelLines(view));
    });
}

function unknown(name: string, all: readonly ModelRecord[]): ModelUnknown {
  const names = [...new Set(all.map((record) => record.name))].slice(0, 10);
  const known = names.length === 0 ? 'none is registered yet' : `registered are ${names.join(', ')}`;
  return new ModelUnknown(`no model named "${name}" was registered here; ${known}`);
}

function oneOf(name: string, found: readonly ModelRecord[], owner: string | undefined): ModelRecord {
  const owners = found.map(({ userId }) => userId ?? '-');
  const [first, ...others] = owner === undefined ? found : found.filter(({ userId }) => (userId ?? '-') === owner);
  if (!first)
    throw new ModelUnknown(`the owner "${owner ?? ''}" has no model "${name}"; owners are ${owners.join(', ')}`);
  if (others.length > 0 && owner === undefined)
    throw new ModelAmbiguous(`several owners have a model "${name}": ${owners.join(', ')}`);
  return first;
}
